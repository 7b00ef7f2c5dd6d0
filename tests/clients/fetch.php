<?php
// fetch.php - PHP's imap, which is c-client: HOST PORT TRANSPORT AUTHORITY USER PASSWORD FOLDER SEEN KEEP
[, $host, $port, $transport, , $user, $password, $folder, , $keep] = $argv;
$flags = ['clear' => '/notls', 'pop3s' => '/ssl', 'STLS' => '/tls'][$transport];
$client = imap_open("{{$host}:$port/pop3$flags}INBOX", $user, $password);
if ($client === false) {
    echo implode("\n", imap_errors() ?: ['no session']), "\n";
    exit(1);
}
for ($number = 1; $number <= imap_num_msg($client); $number++) {
    $message = imap_fetchheader($client, $number) . imap_body($client, $number);
    file_put_contents("$folder/$number", $message);
    if ($keep === 'no')
        imap_delete($client, (string)$number);
}
imap_close($client, $keep === 'no' ? CL_EXPUNGE : 0);
imap_errors();
imap_alerts();
