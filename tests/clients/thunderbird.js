// thunderbird.js - run inside Thunderbird by Marionette: fetches the mail of the first account.
// Resolves to the status of the fetch, 0 if all is well.
const [host, port, user, password, certificate, done] = arguments;

async function main() {
    const { MailServices } =
        ChromeUtils.importESModule('resource:///modules/MailServices.sys.mjs');
    if (certificate !== '') {
        // it takes no certificate that signed itself: what a person would accept in a window
        const known = Cc['@mozilla.org/security/x509certdb;1'].getService(Ci.nsIX509CertDB)
            .constructX509FromBase64(certificate.split('-----')[2].replace(/\s/g, ''));
        Cc['@mozilla.org/security/certoverride;1'].getService(Ci.nsICertOverrideService)
            .rememberValidityOverride(host, port, {}, known, true);
    }
    const origin = `mailbox://${host}`;
    await Services.logins.initializationPromise;
    if ((await Services.logins.searchLoginsAsync({ origin })).length === 0) {
        const login = Cc['@mozilla.org/login-manager/loginInfo;1'].createInstance(Ci.nsILoginInfo);
        login.init(origin, null, origin, user, password, '', '');
        await Services.logins.addLoginAsync(login);
    }
    const server = MailServices.accounts.accounts[0].incomingServer;
    const inbox = server.rootFolder.getFolderWithFlags(Ci.nsMsgFolderFlags.Inbox) ||
        server.rootMsgFolder;
    return new Promise((resolve) => {
        const listener = { OnStartRunningUrl() {}, OnStopRunningUrl: (_, status) => resolve(status) };
        MailServices.pop3.GetNewMail(null, listener, inbox, server);
    });
}

main().then(done, (error) => done(`${error} ${error.stack}`));
