#!/usr/bin/perl
# fetch.pl - Net::POP3: HOST PORT TRANSPORT AUTHORITY USER PASSWORD FOLDER SEEN KEEP
use strict;
use warnings;
use Net::POP3;

my ($host, $port, $transport, $authority, $user, $password, $folder, $seen_file, $keep) = @ARGV;
my @tls = (SSL_ca_file => $authority, SSL_verifycn_name => 'localhost');
my $client = Net::POP3->new($host, Port => $port, Timeout => 30,
    $transport eq 'pop3s' ? (SSL => 1, @tls) : ()) or die "connect: $@";
if ($transport eq 'STLS') {
    $client->starttls(@tls) or die 'STLS: ' . $client->message;
}
defined $client->login($user, $password) or die 'login: ' . $client->message;
my %seen;
if (open my $file, '<', $seen_file) {
    %seen = map { chomp; $_ => 1 } <$file>;
}
my $unique_ids = $client->uidl;
my $sizes = $client->list;
for my $number (sort { $a <=> $b } keys %$unique_ids) {
    next if $seen{$unique_ids->{$number}};
    my $lines = $client->get($number) or die 'RETR: ' . $client->message;
    open my $out, '>:raw', "$folder/$number" or die $!;
    print $out @$lines;
    close $out or die $!;
    open my $list, '>>', $seen_file or die $!;
    print $list "$unique_ids->{$number}\n";
    close $list or die $!;
    $client->delete($number) or die 'DELE: ' . $client->message if $keep eq 'no';
}
$client->quit or die 'QUIT: ' . $client->message;
