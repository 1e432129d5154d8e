//! Replies to REGISTER as the servers in use write them.

use super::reading;

/// Kamailio's registrar: contacts comma-separated with their expiry, no Expires header, `received` beside them.
const KAMAILIO: &str = "SIP/2.0 200 OK\r\n\
Via: SIP/2.0/UDP 192.168.1.23:5062;rport=40321;received=203.0.113.9;branch=z9hG4bK-524287-1\r\n\
From: \"Alice\" <sip:alice@sip.example.net>;tag=8f3c\r\n\
To: \"Alice\" <sip:alice@sip.example.net>;tag=a6a1c5f60faecf035a1ae5b6e96e979a.8d5b0000\r\n\
Call-ID: 96ZDRmQ1NzhmMzVmYjQ3@192.168.1.23\r\n\
CSeq: 2 REGISTER\r\n\
Contact: <sip:alice@192.168.1.23:5062;ob>;expires=3600;received=\"sip:203.0.113.9:40321\", \
<sip:alice@10.0.0.7:5060;transport=tcp>;q=0.5;expires=41;+sip.instance=\"<urn:uuid:0a1b>\";reg-id=1\r\n\
Server: kamailio (5.6.3 (x86_64/linux))\r\n\
Content-Length: 0\r\n\
\r\n";

/// Asterisk's PJSIP: rport first, expiry at the contact and in a header of its own.
const ASTERISK: &str = "SIP/2.0 200 OK\r\n\
Via: SIP/2.0/UDP 192.168.1.23:5062;rport=40321;received=203.0.113.9;branch=z9hG4bKPj01\r\n\
Call-ID: dd1f-4e0a\r\n\
From: <sip:6001@pbx.example.net>;tag=77b1\r\n\
To: <sip:6001@pbx.example.net>;tag=z9hG4bKPj01\r\n\
CSeq: 31082 REGISTER\r\n\
Date: Tue, 24 Nov 2026 12:00:00 GMT\r\n\
Contact: <sip:6001@192.168.1.23:5062;ob>;expires=3599\r\n\
Expires: 3600\r\n\
Server: Asterisk PBX 22.1.0\r\n\
Content-Length:  0\r\n\
\r\n";

/// FreeSWITCH's Sofia: quoted display name at the contact, its own parameters within the brackets.
const FREESWITCH: &str = "SIP/2.0 200 OK\r\n\
Via: SIP/2.0/TCP 192.168.1.23:5062;branch=z9hG4bK9d;rport=40321;received=203.0.113.9\r\n\
From: \"1000\" <sip:1000@fs.example.net>;tag=5b\r\n\
To: \"1000\" <sip:1000@fs.example.net>;tag=XeDU9m2v15p1H\r\n\
Call-ID: 3c26700ab2c7-1\r\n\
CSeq: 3 REGISTER\r\n\
Contact: \"1000\" <sip:1000@192.168.1.23:5062;transport=tcp;fs_nat=yes;\
fs_path=sip%3A1000%40203.0.113.9%3A40321%3Btransport%3Dtcp>;expires=1800\r\n\
Date: Tue, 24 Nov 2026 12:00:00 GMT\r\n\
User-Agent: FreeSWITCH-mod_sofia/1.10.11\r\n\
Allow: INVITE, ACK, BYE, CANCEL, OPTIONS, MESSAGE, INFO, UPDATE, REGISTER, REFER, NOTIFY\r\n\
Supported: timer, path, replaces\r\n\
Content-Length: 0\r\n\
\r\n";

/// Kamailio's reply to a REGISTER that took the last binding away has no Contact at all.
const KAMAILIO_GONE: &str = "SIP/2.0 200 OK\r\n\
From: <sip:alice@sip.example.net>;tag=8f3c\r\n\
To: <sip:alice@sip.example.net>;tag=a6a1.8d5b\r\n\
Call-ID: 96ZD\r\n\
CSeq: 3 REGISTER\r\n\
Content-Length: 0\r\n\
\r\n";

/// Asterisk's challenge: opaque and algorithm before qop.
const ASTERISK_CHALLENGE: &str = "SIP/2.0 401 Unauthorized\r\n\
Call-ID: dd1f-4e0a\r\n\
CSeq: 31081 REGISTER\r\n\
WWW-Authenticate: Digest realm=\"asterisk\",nonce=\"1764000000/5f0c5b8a\",opaque=\"27d8\",algorithm=MD5,qop=\"auth\"\r\n\
Content-Length:  0\r\n\
\r\n";

/// FreeSWITCH's challenge: stale stands before the algorithm.
const FREESWITCH_CHALLENGE: &str = "SIP/2.0 401 Unauthorized\r\n\
CSeq: 2 REGISTER\r\n\
WWW-Authenticate: Digest realm=\"fs.example.net\", nonce=\"f2a9b2c8\", stale=true, algorithm=MD5, qop=\"auth\"\r\n\
Content-Length: 0\r\n\
\r\n";

#[test]
fn replies_of_servers_are_read() {
    let rows = [
        (
            KAMAILIO,
            "200 | cseq 2 REGISTER | call 96ZDRmQ1NzhmMzVmYjQ3@192.168.1.23 | from sip:alice@sip.example.net \
             | to sip:alice@sip.example.net | length 0 | contact sip:alice@192.168.1.23:5062;ob for 3600 \
             | contact sip:alice@10.0.0.7:5060;transport=tcp for 41",
        ),
        (
            ASTERISK,
            "200 | cseq 31082 REGISTER | call dd1f-4e0a | from sip:6001@pbx.example.net \
             | to sip:6001@pbx.example.net | expires 3600 | length 0 \
             | contact sip:6001@192.168.1.23:5062;ob for 3599",
        ),
        (
            FREESWITCH,
            "200 | cseq 3 REGISTER | call 3c26700ab2c7-1 | from sip:1000@fs.example.net \
             | to sip:1000@fs.example.net | length 0 \
             | contact sip:1000@192.168.1.23:5062;transport=tcp;fs_nat=yes;\
             fs_path=sip%3A1000%40203.0.113.9%3A40321%3Btransport%3Dtcp for 1800",
        ),
        (
            KAMAILIO_GONE,
            "200 | cseq 3 REGISTER | call 96ZD | from sip:alice@sip.example.net \
             | to sip:alice@sip.example.net | length 0",
        ),
        (
            ASTERISK_CHALLENGE,
            "401 | cseq 31081 REGISTER | call dd1f-4e0a | length 0 | challenge 1764000000/5f0c5b8a",
        ),
        (FREESWITCH_CHALLENGE, "401 | cseq 2 REGISTER | length 0 | challenge f2a9b2c8 stale"),
    ];
    for (message, expected) in rows {
        assert_eq!(reading(message.as_bytes()).as_deref(), Some(expected));
        // The same with the line ends of a careless relay.
        assert_eq!(reading(message.replace("\r\n", "\n").as_bytes()).as_deref(), Some(expected));
    }
}
