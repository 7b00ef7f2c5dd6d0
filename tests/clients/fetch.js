// fetch.js - node-pop3: HOST PORT TRANSPORT AUTHORITY USER PASSWORD FOLDER SEEN KEEP
// It leaves a doubled dot as it came and drops the last line end: mended here.
const fs = require('fs');
const library = require(process.env.LIBRARY);
const Pop3Command = library.default || library;

const [host, port, transport, authority, user, password, folder, seenFile, keep] =
    process.argv.slice(2);

async function main() {
    const client = new Pop3Command({
        host, port: Number(port), user, password, tls: transport === 'pop3s', timeout: 60000,
        tlsOptions: { ca: fs.readFileSync(authority), servername: 'localhost' },
    });
    const seen = fs.existsSync(seenFile) ? fs.readFileSync(seenFile, 'utf8').split('\n') : [];
    const listed = await client.LIST();
    const uniqueIds = await client.UIDL();
    if (listed.length !== uniqueIds.length)
        throw new Error('LIST and UIDL differ');
    for (const [number, uniqueId] of uniqueIds) {
        if (seen.includes(uniqueId))
            continue;
        const [, stream] = await client.command('RETR', number).then((info) => [info[0], info[1]]);
        const pieces = [];
        for await (const piece of stream)
            pieces.push(Buffer.from(piece));
        const text = Buffer.concat(pieces).toString('latin1').replace(/^\.\./gm, '.');
        fs.writeFileSync(`${folder}/${number}`, text + '\r\n', 'latin1');
        fs.appendFileSync(seenFile, `${uniqueId}\n`);
        if (keep === 'no')
            await client.command('DELE', number);
    }
    await client.QUIT();
}

main().catch((error) => { console.error(error); process.exit(1); });
