//! Invites: text that makes one device, and no other, a member of a vault.
//!
//! `privstack-invite-1:` and, in base64url without padding (RFC 4648): recipient (32 bytes), vault (32), what is sealed
//! to the recipient, checksum (8). Sealed is all that tells anything: the operations, the addresses, the vault key.

use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::membership::{Inserted, Membership};
use super::op::Op;
use super::seal::{not_for_us, seal, unseal};
use crate::error::{Error, Result};
use crate::types::codec::{Reader, put_bytes, put_varint};
use crate::types::limits::MAX_MEMBERSHIP_OP_BYTES;
use crate::types::{Hash, Keypair, PeerId, VaultId};

/// What every invite starts with.
pub const INVITE_PREFIX: &str = "privstack-invite-1:";
/// Characters of an invite at most, blanks not counted.
pub const MAX_INVITE_TEXT: usize = 128 << 10;
/// Addresses in an invite at most; more are left out.
pub const MAX_INVITE_ADDRESSES: usize = 16;
/// Bytes of one address at most; longer ones are left out.
pub const MAX_ADDRESS_BYTES: usize = 512;
/// Operations besides `Genesis`: at least a whole credential fits.
const MAX_INVITE_OPS: usize = 256;
/// Bytes of operations besides `Genesis` up to which an invite brings all that its grant rests on.
const MAX_PAST_BYTES: usize = 32 << 10;
const CHECKSUM: usize = 8;
const CHECKSUM_CONTEXT: &str = "privstack-sync 2026-11-22 invite checksum";
const PURPOSE: &str = "invite";

/// An invite as its recipient reads it. Debug output never shows the key.
#[derive(Clone, PartialEq, Eq)]
pub struct Invite {
    /// Who is invited.
    pub recipient: PeerId,
    /// Into which vault.
    pub vault: VaultId,
    /// `Genesis`, encoded.
    pub genesis: Arc<[u8]>,
    /// Operations that end in the recipient's own `AddMember`: all that it rests on, parents first, where that is not
    /// too much; else only the chain of grants, some of whose parents come by the first sync. Either serves as the
    /// recipient's credential ([`Invite::credential`]) until then.
    pub ops: Vec<Arc<[u8]>>,
    /// Where the inviting device can be reached.
    pub addresses: Vec<String>,
    /// The vault key.
    pub vault_key: Zeroizing<[u8; 32]>,
}

impl fmt::Debug for Invite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invite")
            .field("recipient", &self.recipient)
            .field("vault", &self.vault)
            .field("ops", &self.ops.len())
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

impl Invite {
    /// The invite of a device that `membership` holds an effective grant for. Fails with `not_trusted` or `too_large`
    /// as [`Membership::credential_for`] does.
    pub fn new(
        membership: &Membership,
        recipient: PeerId,
        addresses: Vec<String>,
        vault_key: Zeroizing<[u8; 32]>,
    ) -> Result<Self> {
        let chain = membership.credential_for(&recipient, None)?;
        // What gives it its role now, where it was a member before.
        let grant = membership.evaluate().members.get(&recipient).map(|member| member.grant);
        let grant = grant.or_else(|| Some(Op::decode(chain.last()?).ok()?.hash()));
        let past_of = |heads: &[Hash]| {
            let ops: Vec<_> = membership.past_ops(heads)?.skip(1).cloned().collect();
            let bytes = ops.iter().map(|op| op.len()).sum::<usize>();
            (ops.len() <= MAX_INVITE_OPS && bytes <= MAX_PAST_BYTES).then_some(ops)
        };
        // All there is, where it fits: what the device brings along is judged by the rules of now, not of its grant.
        let past = past_of(&membership.heads()).or_else(|| past_of(&[grant?]));
        Ok(Self {
            recipient,
            vault: membership.vault(),
            genesis: membership.genesis_bytes().clone(),
            ops: past.unwrap_or(chain),
            addresses: (addresses.into_iter())
                .filter(|address| address.len() <= MAX_ADDRESS_BYTES)
                .take(MAX_INVITE_ADDRESSES)
                .collect(),
            vault_key,
        })
    }

    /// Its text; `entropy` is 32 fresh random bytes.
    pub fn to_text(&self, entropy: &Zeroizing<[u8; 32]>) -> Result<String> {
        let size = 256 + self.genesis.len() + self.ops.iter().map(|op| op.len() + 5).sum::<usize>();
        let mut plain =
            Zeroizing::new(Vec::with_capacity(size + self.addresses.iter().map(|a| a.len() + 5).sum::<usize>()));
        plain.extend_from_slice(&*self.vault_key);
        put_bytes(&mut plain, &self.genesis);
        put_varint(&mut plain, self.ops.len() as u64);
        self.ops.iter().for_each(|op| put_bytes(&mut plain, op));
        put_varint(&mut plain, self.addresses.len() as u64);
        self.addresses.iter().for_each(|address| put_bytes(&mut plain, address.as_bytes()));

        let mut out = [&self.recipient.0[..], &self.vault.0].concat();
        out.extend_from_slice(&seal(&self.recipient, &self.vault, PURPOSE, &plain, entropy)?);
        let checksum = checksum(&out);
        out.extend_from_slice(&checksum);
        let text = format!("{INVITE_PREFIX}{}", to_base64url(&out));
        if text.len() > MAX_INVITE_TEXT {
            return Err(Error::too_large(format!(
                "an invite of {} characters is over the limit of {MAX_INVITE_TEXT}",
                text.len()
            )));
        }
        Ok(text)
    }

    /// Whom an invite invites, and into which vault: all that others than its recipient can read of it. Fails with
    /// `invalid`, and says what is wrong: not an invite, a newer kind, cut off or mistyped.
    pub fn address_of(text: &str) -> Result<(PeerId, VaultId)> {
        read_outer(text).map(|outer| (outer.recipient, outer.vault))
    }

    /// Reads an invite that is for `device`, and checks all of it: that `Genesis` is this vault's, that the operations
    /// are signed and lead from it to `device`.
    pub fn from_text(text: &str, device: &Keypair) -> Result<Self> {
        let outer = read_outer(text)?;
        if outer.recipient != device.peer_id() {
            return Err(not_for_us(&outer.recipient));
        }
        let plain = unseal(device, &outer.vault, PURPOSE, &outer.sealed)?;
        let invite = Self::read(&outer, &plain)
            .and_then(|invite| invite.check().map(|()| invite))
            .map_err(|error| Error::invalid(format!("this invite is not in order: {}", error.message())))?;
        Ok(invite)
    }

    /// The membership log that the invite starts, and whether it holds all operations of the invite; if not, the rest
    /// can be inserted once a member has sent their parents.
    pub fn membership(&self) -> Result<(Membership, bool)> {
        let mut membership = Membership::new(&self.genesis)?;
        let mut complete = true;
        for op in &self.ops {
            complete &= !matches!(membership.insert(op)?, Inserted::MissingParents(_));
        }
        Ok((membership, complete))
    }

    /// The chain of grants that shows the recipient to members who have not heard of it. Of use until the device's own
    /// membership log holds its grant, and answers [`Membership::credential_for`].
    pub fn credential(&self) -> Result<Vec<Arc<[u8]>>> {
        match self.membership() {
            Ok((membership, true)) => membership.credential_for(&self.recipient, None),
            // Without all parents the operations are the chain itself; `from_text` has checked it.
            _ => Ok(self.ops.clone()),
        }
    }

    fn read(outer: &Outer, plain: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(plain);
        let vault_key = Zeroizing::new(reader.array()?);
        let op = |reader: &mut Reader<'_>| reader.bytes(MAX_MEMBERSHIP_OP_BYTES, "operation").map(Arc::from);
        let genesis = op(&mut reader)?;
        let count = reader.count(MAX_INVITE_OPS, "operations")?;
        let ops = (0..count).map(|_| op(&mut reader)).collect::<Result<Vec<_>>>()?;
        let count = reader.count(MAX_INVITE_ADDRESSES, "addresses")?;
        let addresses = (0..count)
            .map(|_| reader.text(MAX_ADDRESS_BYTES, "address").map(str::to_owned))
            .collect::<Result<Vec<_>>>()?;
        reader.finish()?;
        Ok(Self { recipient: outer.recipient, vault: outer.vault, genesis, ops, addresses, vault_key })
    }

    fn check(&self) -> Result<()> {
        let (membership, _) = self.membership()?;
        if membership.vault() != self.vault {
            return Err(Error::protocol("its Genesis is another vault's"));
        }
        for op in &self.ops {
            if Op::decode(op)?.vault != self.vault {
                return Err(Error::protocol("it has an operation of another vault"));
            }
        }
        Membership::new(&self.genesis)?.check_credential(&self.credential()?, &self.recipient)
    }
}

struct Outer {
    recipient: PeerId,
    vault: VaultId,
    sealed: Vec<u8>,
}

fn read_outer(text: &str) -> Result<Outer> {
    let characters = || text.chars().filter(|character| !character.is_whitespace());
    if characters().take(MAX_INVITE_TEXT + 1).count() > MAX_INVITE_TEXT {
        return Err(Error::invalid(format!("an invite has at most {MAX_INVITE_TEXT} characters")));
    }
    let text: String = characters().collect();
    let Some(coded) = text.strip_prefix(INVITE_PREFIX) else {
        let hint = if text.starts_with("privstack-invite-") {
            "this invite is of a newer kind; update this device"
        } else {
            "this is not an invite; it starts with `privstack-invite-1:`"
        };
        return Err(Error::invalid(hint));
    };
    let cut = || Error::invalid("this invite was cut off or mistyped; copy all of it again");
    let bytes = from_base64url(coded).ok_or_else(cut)?;
    let (content, sum) = bytes.len().checked_sub(CHECKSUM).map(|at| bytes.split_at(at)).ok_or_else(cut)?;
    if checksum(content) != *sum {
        return Err(cut());
    }
    let mut reader = Reader::new(content);
    let recipient = PeerId(reader.array().map_err(|_| cut())?);
    let vault = VaultId(reader.array().map_err(|_| cut())?);
    Ok(Outer { recipient, vault, sealed: reader.rest().to_vec() })
}

fn checksum(content: &[u8]) -> [u8; CHECKSUM] {
    Hash::derive(CHECKSUM_CONTEXT, content).short().to_be_bytes()
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

fn to_base64url(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() / 3 * 4 + 4);
    for group in bytes.chunks(3) {
        let bits = (group.iter().enumerate()).fold(0_u32, |bits, (at, byte)| bits | u32::from(*byte) << (16 - 8 * at));
        for digit in 0..=group.len() {
            text.push(char::from(ALPHABET[(bits >> (18 - 6 * digit)) as usize & 63]));
        }
    }
    text
}

/// `None` for any other character, and for a text that [`to_base64url`] would not write.
fn from_base64url(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 3);
    for group in text.as_bytes().chunks(4) {
        let mut bits = 0_u32;
        for (at, character) in group.iter().enumerate() {
            let digit = ALPHABET.iter().position(|known| known == character)? as u32;
            bits |= digit << (18 - 6 * at);
        }
        let [_, first, second, third] = bits.to_be_bytes();
        let length = group.len() - 1;
        if length == 0 || [first, second, third].iter().skip(length).any(|unused| *unused != 0) {
            return None;
        }
        bytes.extend([first, second, third].iter().take(length));
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use crate::test;
    use proptest::prelude::*;

    use super::super::op::AddMember;
    use super::super::roles::{PolicyKind, SyncRole};
    use super::super::tests::{key, new_vault};
    use super::*;
    use crate::error::ErrorCode;
    use crate::types::HybridTimestamp;

    fn invite(chain: u8) -> (Membership, Invite) {
        let mut membership = new_vault(PolicyKind::Personal);
        for member in 2..2 + chain {
            let add = AddMember { peer: key(member).peer_id(), role: SyncRole::Member, name: format!("{member}") };
            membership.add_member(&key(member - 1), add, HybridTimestamp(1)).unwrap();
        }
        let addresses = vec!["/ip4/127.0.0.1/udp/1/quic-v1".to_owned()];
        let recipient = key(1 + chain).peer_id();
        let invite = Invite::new(&membership, recipient, addresses, Zeroizing::new([7; 32])).unwrap();
        (membership, invite)
    }

    #[test]
    fn an_invite_reads_back_for_its_recipient_only_and_starts_a_membership_log() {
        let (membership, invite) = invite(3);
        let text = invite.to_text(&Zeroizing::new([8; 32])).unwrap();
        let wrapped: String =
            text.chars().enumerate().flat_map(|(at, c)| [Some(c), (at % 70 == 69).then_some('\n')]).flatten().collect();
        let read = Invite::from_text(&format!("  {wrapped}\r\n"), &key(4)).unwrap();
        assert_eq!(read, invite);
        let (log, complete) = read.membership().unwrap();
        assert!(complete);
        assert_eq!(log.evaluate(), membership.evaluate());
        assert_eq!(read.credential().unwrap().len(), 3);
        assert_eq!(Invite::address_of(&text).unwrap(), (key(4).peer_id(), membership.vault()));
        let other = Invite::from_text(&text, &key(5)).unwrap_err();
        assert!(other.message().contains("not to this device"), "{other}");
        assert!(!text.contains(&to_base64url(&*membership.genesis().secret)[..40]));
        let debug = format!("{invite:?} {membership:?} {read:?}");
        assert!(!debug.contains("7, 7") && !debug.contains("77, 77"), "{debug}");
    }

    #[test]
    fn an_invite_whose_past_is_too_long_brings_the_chain_alone() {
        let (mut membership, _) = invite(1);
        for member in 100..250 {
            let add = AddMember { peer: key(member).peer_id(), role: SyncRole::Member, name: "x".repeat(100) };
            membership.add_member(&key(1), add, HybridTimestamp(1)).unwrap();
        }
        let invite = Invite::new(&membership, key(249).peer_id(), Vec::new(), Zeroizing::new([7; 32])).unwrap();
        assert_eq!(invite.ops.len(), 1);
        let read = Invite::from_text(&invite.to_text(&Zeroizing::new([8; 32])).unwrap(), &key(249)).unwrap();
        assert!(!read.membership().unwrap().1);
        assert_eq!(read.credential().unwrap(), invite.ops);
    }

    #[test]
    fn an_invite_that_was_cut_off_or_mistyped_says_so() {
        let text = invite(1).1.to_text(&Zeroizing::new([8; 32])).unwrap();
        for end in (INVITE_PREFIX.len()..text.len()).step_by(7) {
            let error = Invite::from_text(&text[..end], &key(2)).unwrap_err();
            assert_eq!(error.code(), ErrorCode::Invalid);
            assert!(error.message().contains("cut off"), "{error}");
        }
        for at in (INVITE_PREFIX.len()..text.len()).step_by(11) {
            let other = if text.as_bytes()[at] == b'A' { "B" } else { "A" };
            let typo = format!("{}{other}{}", &text[..at], &text[at + 1..]);
            assert!(Invite::from_text(&typo, &key(2)).unwrap_err().message().contains("mistyped"));
        }
        let newer = Invite::from_text("privstack-invite-2:AAAA", &key(2)).unwrap_err();
        assert!(newer.message().contains("newer"), "{newer}");
        assert!(Invite::from_text("hello", &key(2)).unwrap_err().message().contains("not an invite"));
    }

    proptest! {
        #[test]
        fn base64url_reads_back(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            prop_assert_eq!(from_base64url(&to_base64url(&bytes)), Some(bytes));
        }

        #[test]
        fn no_text_makes_reading_an_invite_panic(text in "\\PC*", coded in "[A-Za-z0-9_-]{0,400}") {
            prop_assert!(Invite::from_text(&text, &key(1)).is_err());
            let coded = format!("{INVITE_PREFIX}{coded}");
            prop_assert!(Invite::from_text(&coded, &key(1)).is_err());
        }

        #[test]
        fn no_sealed_content_makes_reading_an_invite_panic(plain in prop::collection::vec(any::<u8>(), 0..400)) {
            let outer = Outer { recipient: key(1).peer_id(), vault: VaultId([0; 32]), sealed: Vec::new() };
            prop_assert!(Invite::read(&outer, &plain).and_then(|invite| invite.check()).is_err());
        }
    }
}
