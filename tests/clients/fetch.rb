#!/usr/bin/ruby
# fetch.rb - Ruby's net/pop: HOST PORT TRANSPORT AUTHORITY USER PASSWORD FOLDER SEEN KEEP
require 'net/pop'
require 'openssl'

host, port, transport, authority, user, password, folder, seen_file, keep = ARGV
client = Net::POP3.new(host, port.to_i)
client.enable_ssl(OpenSSL::SSL::VERIFY_PEER, authority) if transport == 'pop3s'
client.start(user, password)
seen = File.exist?(seen_file) ? File.readlines(seen_file, chomp: true) : []
raise 'STAT and LIST differ' unless client.n_mails == client.mails.size
client.each_mail do |mail|
  next if seen.include?(mail.unique_id)
  content = mail.pop
  raise "LIST says #{mail.length}" unless mail.length == content.bytesize
  File.binwrite("#{folder}/#{mail.number}", content)
  File.open(seen_file, 'a') { |file| file.puts(mail.unique_id) }
  mail.delete if keep == 'no'
end
client.finish
