#!/usr/bin/perl
# fetch_pop3client.pl - Mail::POP3Client: HOST PORT TRANSPORT AUTHORITY USER PASSWORD FOLDER SEEN KEEP
use strict;
use warnings;
use IO::Socket::SSL;
use Mail::POP3Client;

my ($host, $port, $transport, $authority, $user, $password, $folder, $seen_file, $keep) = @ARGV;
IO::Socket::SSL::set_defaults(SSL_ca_file => $authority, SSL_verifycn_name => 'localhost');
my $client = Mail::POP3Client->new(USER => $user, PASSWORD => $password, HOST => $host,
    PORT => $port, AUTH_MODE => 'PASS', TIMEOUT => 30, USESSL => $transport eq 'pop3s' ? 1 : 0);
die 'login: ' . $client->Message if $client->Count < 0;
my %seen;
if (open my $file, '<', $seen_file) {
    %seen = map { chomp; $_ => 1 } <$file>;
}
# the first place is empty: numbers begin with 1
my @unique_ids = $client->Uidl;
for my $number (1 .. $client->Count) {
    my $unique_id = $unique_ids[$number];
    next if $seen{$unique_id};
    open my $out, '>:raw', "$folder/$number" or die $!;
    $client->RetrieveToFile($out, $number) or die 'RETR: ' . $client->Message;
    close $out or die $!;
    open my $list, '>>', $seen_file or die $!;
    print $list "$unique_id\n";
    close $list or die $!;
    $client->Delete($number) or die 'DELE: ' . $client->Message if $keep eq 'no';
}
$client->Close or die 'QUIT: ' . $client->Message;
