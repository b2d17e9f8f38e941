//! Links for pairing, which a QR code carries: `privstack:pair?v=1&p=…&s=…&e=…&a=…` with the PeerId of the device that
//! shows it, a secret of 128 bits, when it ends, and addresses.

use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::types::PeerId;

/// Bytes of a link at most: what a QR code can carry.
pub const MAX_LINK_BYTES: usize = 2_900;
/// Addresses in a link at most; more are left out.
pub const MAX_LINK_ADDRESSES: usize = 6;
const MAX_ADDRESS_BYTES: usize = 256;
/// Bytes of what is pasted at most: a page's address, and a link all of whose bytes are percent-encoded.
const MAX_PASTED_BYTES: usize = 2_048 + 3 * MAX_LINK_BYTES;
/// What stands before the link in the fragment of a page's address.
const FRAGMENT: &str = "pair=";
const SCHEME: &str = "privstack:";
const START: &str = "privstack:pair?";
const VERSION: &str = "1";

/// What a link says. It has no `Debug`: the secret is in it.
#[derive(Clone, PartialEq, Eq)]
pub struct PairingLink {
    /// The device that shows it.
    pub peer: PeerId,
    /// Where that can be reached: multiaddresses.
    pub addresses: Vec<String>,
    /// When it ends: seconds since 1970.
    pub expires_at: u64,
    pub(super) secret: Zeroizing<[u8; 16]>,
}

impl PairingLink {
    pub(super) fn new(peer: PeerId, addresses: &[String], expires_at: u64, secret: Zeroizing<[u8; 16]>) -> Self {
        let addresses = addresses.iter().filter(|address| address.len() <= MAX_ADDRESS_BYTES);
        Self { peer, addresses: addresses.take(MAX_LINK_ADDRESSES).cloned().collect(), expires_at, secret }
    }

    /// The link as text.
    pub fn uri(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(512));
        let secret = Zeroizing::new(hex(&*self.secret));
        text.push_str(&format!("{START}v={VERSION}&p={}&s={}&e={}", self.peer, *secret, self.expires_at));
        for address in &self.addresses {
            // It ends in `/p2p/` and the PeerId that stands above already.
            let address = address.strip_suffix(&format!("/p2p/{}", self.peer)).unwrap_or(address);
            let more = format!("&a={}", escape(address));
            if text.len() + more.len() <= MAX_LINK_BYTES {
                text.push_str(&more);
            }
        }
        text
    }

    /// Finds the link in what was typed or pasted: the link alone, or a page's address with the link in its fragment,
    /// `https://…/#pair=privstack:…`, percent-encoded or not. `None` where the text is neither; fails where it holds a
    /// link that is not in order.
    pub fn find(text: &str) -> Option<Result<Self>> {
        let text = text.trim();
        if begins(text, SCHEME) {
            return Some(Self::parse(text));
        }
        let (_, fragment) = text.split_once('#')?;
        let link = fragment.strip_prefix(FRAGMENT).unwrap_or(fragment);
        if !begins(link, SCHEME) && !begins(link, "privstack%3A") {
            return None;
        }
        if text.len() > MAX_PASTED_BYTES {
            return Some(Err(wrong("it is too long")));
        }
        if begins(link, START) {
            return Some(Self::parse(link));
        }
        match unescape(link).map(Zeroizing::new) {
            Some(link) => Some(Self::parse(&link)),
            None => Some(Err(wrong("it is damaged"))),
        }
    }

    /// Reads a link. Unknown names are ignored: later versions may add some. The error never repeats the text.
    pub fn parse(text: &str) -> Result<Self> {
        if text.len() > MAX_LINK_BYTES {
            return Err(wrong("it is too long"));
        }
        let query = text.get(START.len()..).filter(|_| begins(text, START));
        let query = query.ok_or_else(|| wrong("it does not start as one"))?;
        let (mut peer, mut secret, mut expires_at, mut version) = (None, None, None, None);
        let mut addresses = Vec::new();
        for pair in query.split('&') {
            match pair.split_once('=') {
                Some(("v", value)) => version = Some(value),
                Some(("p", value)) => peer = value.parse::<PeerId>().ok(),
                Some(("s", value)) => secret = unhex(value),
                Some(("e", value)) => expires_at = value.parse::<u64>().ok(),
                Some(("a", value)) if addresses.len() < MAX_LINK_ADDRESSES => {
                    let address = unescape(value).ok_or_else(|| wrong("an address is damaged"))?;
                    if !address.starts_with('/') || address.len() > MAX_ADDRESS_BYTES {
                        return Err(wrong("an address is damaged"));
                    }
                    addresses.push(address);
                }
                _ => {}
            }
        }
        if version != Some(VERSION) {
            return Err(Error::new(
                crate::error::ErrorCode::Version,
                "this pairing link is of another version; update privstack on both devices",
            ));
        }
        Ok(Self {
            peer: peer.ok_or_else(|| wrong("the PeerId is missing"))?,
            secret: secret.ok_or_else(|| wrong("the secret is missing"))?,
            expires_at: expires_at.ok_or_else(|| wrong("the time is missing"))?,
            addresses,
        })
    }
}

fn wrong(what: &str) -> Error {
    Error::invalid(format!("this pairing link is not in order: {what}; copy it again"))
}

/// Whether a text begins so, in small or capital letters.
fn begins(text: &str, start: &str) -> bool {
    text.get(..start.len()).is_some_and(|first| first.eq_ignore_ascii_case(start))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Zeroizing<[u8; 16]>> {
    let mut bytes = Zeroizing::new([0; 16]);
    if text.len() != 32 {
        return None;
    }
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    // `from_str_radix` takes a sign.
    text.bytes().all(|byte| byte.is_ascii_hexdigit()).then_some(bytes)
}

/// Percent-encodes what has a meaning in a query, and all that is not plain ASCII.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'.' | b'_' | b'~' | b':' => {
                out.push(char::from(byte))
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let (digits, tail) = rest.split_at_checked(2)?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = tail;
    }
    let text = String::from_utf8(bytes).ok()?;
    (!text.chars().any(char::is_control)).then_some(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::error::ErrorCode;
    use crate::test;
    use crate::types::Keypair;

    fn link(addresses: &[&str]) -> PairingLink {
        let addresses: Vec<String> = addresses.iter().map(|address| (*address).to_owned()).collect();
        let peer = Keypair::from_seed(&[1; 32]).peer_id();
        PairingLink::new(peer, &addresses, 1_760_000_000, Zeroizing::new([0xab; 16]))
    }

    #[test]
    fn a_link_reads_back_and_says_nothing_twice() {
        let peer = Keypair::from_seed(&[1; 32]).peer_id();
        let with_peer = format!("/ip4/192.0.2.1/udp/1/quic-v1/p2p/{peer}");
        let link = link(&[&with_peer, "/dns/häuser & co/tcp/1/ws"]);
        let uri = link.uri();
        assert_eq!(uri.matches(&peer.to_string()).count(), 1);
        let read = PairingLink::parse(&uri).unwrap();
        assert_eq!(read.addresses, ["/ip4/192.0.2.1/udp/1/quic-v1", "/dns/häuser & co/tcp/1/ws"]);
        assert!(read.peer == link.peer && read.secret == link.secret && read.expires_at == link.expires_at);
        assert!(PairingLink::parse(&uri.replace("privstack:pair", "PRIVSTACK:PAIR")).is_ok());
    }

    #[test]
    fn links_that_are_cut_off_too_long_or_of_another_version_are_refused() {
        let uri = link(&["/ip4/192.0.2.1/tcp/1"]).uri();
        let ends = uri.find("&e=").unwrap() + 3;
        assert!((0..ends).all(|end| PairingLink::parse(&uri[..end]).is_err()));
        assert_eq!(PairingLink::parse(&uri.replace("v=1", "v=2")).err().unwrap().code(), ErrorCode::Version);
        assert!(PairingLink::parse(&format!("{}&x={}", *uri, "y".repeat(MAX_LINK_BYTES))).is_err());
        for bad in ["&a=x", "&a=%2", "&a=/%zz", "&a=/%+1", "&a=/%00"] {
            assert!(PairingLink::parse(&format!("{}{bad}", *uri)).is_err(), "{bad}");
        }
        assert!(PairingLink::parse(&uri.replace("s=ab", "s=+b")).is_err());
        let many = ["/ip4/192.0.2.1/tcp/1"; 100];
        assert_eq!(PairingLink::parse(&link(&many).uri()).unwrap().addresses.len(), MAX_LINK_ADDRESSES);
    }

    #[test]
    fn a_link_is_found_in_a_pages_address_percent_encoded_or_not() {
        let link = link(&["/ip4/192.0.2.1/tcp/1", "/dns/häuser & co/tcp/1/ws"]);
        let uri = link.uri();
        let encoded: String = uri.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let component = uri.replace('%', "%25").replace(':', "%3A").replace('?', "%3F").replace('=', "%3D");
        let component = component.replace('&', "%26").replace('/', "%2F");
        for text in [
            uri.to_string(),
            format!("  {}\n", *uri),
            format!("https://notes.example/board/?a=1#pair={}", *uri),
            format!("http://127.0.0.1:8080/#{}", *uri),
            format!("https://notes.example/#pair={component}"),
            format!("https://notes.example/#pair={}", component.replace("privstack%3A", "PRIVSTACK%3a")),
            format!("https://notes.example/#pair=privstack:{}", component.split_once("%3A").unwrap().1),
        ] {
            assert!(PairingLink::find(&text).is_some_and(|found| found.is_ok_and(|found| found == link)), "{text}");
        }
        // Encoded letters of the scheme itself are nothing that a browser or a chat makes.
        assert!(PairingLink::find(&format!("https://notes.example/#pair={encoded}")).is_none());
    }

    #[test]
    fn pages_without_a_link_and_links_that_are_not_in_order_are_refused_in_bounded_time() {
        for text in
            ["", "482 951", "https://notes.example/", "https://notes.example/#pair=482951", "#", "#pair=", "ä#ö"]
        {
            assert!(PairingLink::find(text).is_none(), "{text}");
        }
        let uri = link(&[]).uri();
        let long = format!("https://notes.example/{}#pair={}", "x".repeat(MAX_PASTED_BYTES), *uri);
        let cut = format!("https://notes.example/#pair={}", uri.get(..60).unwrap());
        for text in [
            long.as_str(),
            cut.as_str(),
            "https://notes.example/#pair=privstack:",
            "https://notes.example/#pair=privstack%3Apair%3Fv%3",
            "https://notes.example/#pair=privstack%3Apair%3F%00",
        ] {
            let error = PairingLink::find(text).unwrap().err().unwrap();
            assert!(!error.message().contains("notes.example"), "the error repeats nothing of the text");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in ".{0,200}") {
            let _ = PairingLink::parse(&text);
            let _ = PairingLink::parse(&format!("{START}{text}"));
            let _ = PairingLink::find(&text);
            let _ = PairingLink::find(&format!("#pair=privstack%3A{text}"));
        }

        #[test]
        fn any_address_survives_a_link(rest in "[^\\x00-\\x1f\\x7f-\\u{9f}]{0,40}") {
            let address = format!("/{rest}");
            let read = PairingLink::parse(&link(&[&address]).uri()).unwrap();
            prop_assert_eq!(read.addresses, [address]);
        }
    }
}
