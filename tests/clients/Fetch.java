/*
 * Fetch.java - Jakarta (Java) Mail: HOST PORT TRANSPORT AUTHORITY USER PASSWORD FOLDER SEEN KEEP
 * AUTHORITY is a PKCS12 file here.
 */
import com.sun.mail.pop3.POP3Folder;
import java.io.FileOutputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import javax.mail.FetchProfile;
import javax.mail.Flags;
import javax.mail.Folder;
import javax.mail.Message;
import javax.mail.Session;
import javax.mail.Store;
import javax.mail.UIDFolder;

public class Fetch {
        public static void main(String[] words) throws Exception {
                boolean keeps = words[8].equals("yes");
                Path seenFile = Path.of(words[7]);
                List<String> seen = Files.exists(seenFile) ? Files.readAllLines(seenFile)
                    : new ArrayList<>();
                Properties properties = new Properties();
                String protocol = words[2].equals("pop3s") ? "pop3s" : "pop3";

                System.setProperty("javax.net.ssl.trustStore", words[3]);
                System.setProperty("javax.net.ssl.trustStorePassword", "public");
                if (words[2].equals("STLS")) {
                        properties.put("mail.pop3.starttls.enable", "true");
                        properties.put("mail.pop3.starttls.required", "true");
                }
                Store store = Session.getInstance(properties).getStore(protocol);
                store.connect(words[0], Integer.parseInt(words[1]), words[4], words[5]);
                POP3Folder folder = (POP3Folder) store.getFolder("INBOX");
                folder.open(Folder.READ_WRITE);
                FetchProfile profile = new FetchProfile();
                profile.add(UIDFolder.FetchProfileItem.UID);
                folder.fetch(folder.getMessages(), profile);
                for (Message message : folder.getMessages()) {
                        String uniqueId = folder.getUID(message);

                        if (seen.contains(uniqueId))
                                continue;
                        message.getSize();
                        try (FileOutputStream out = new FileOutputStream(words[6] + "/" +
                            message.getMessageNumber())) {
                                message.writeTo(out);
                        }
                        Files.write(seenFile, (uniqueId + "\n").getBytes(StandardCharsets.UTF_8),
                            StandardOpenOption.CREATE, StandardOpenOption.APPEND);
                        if (!keeps)
                                message.setFlag(Flags.Flag.DELETED, true);
                }
                folder.close(true);
                store.close();
        }
}
