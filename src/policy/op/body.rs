//! What operations do, and how that is written.

use zeroize::Zeroizing;

use super::super::roles::{EntityAcl, PolicyKind, SyncRole, TeamId};
use super::access::{MAX_ACL_ENTRIES, MAX_TEAMS, SetAcl, SetPolicy, SetTeams};
use super::code;
use super::cuts::{Cuts, LogRange, put_cuts, put_log, put_range, read_cuts, read_log, read_range, read_type};
use super::genesis::Genesis;
use super::key::{MAX_SEALED_BYTES, MAX_SEALED_KEYS, SetKey};
use super::member::{AddMember, Remove, RootVoid, SetName, SetRole};
use crate::error::{Error, Result};
use crate::types::codec::{Reader, put_bytes, put_varint};
use crate::types::limits::{MAX_DEVICE_NAME_BYTES, MAX_NAME_BYTES};
use crate::types::{Hash, LogName, PeerId, SortedMap, SortedSet};

/// Operations that one `RootVoid` cancels at most.
const MAX_VOIDED: usize = 1_024;

/// What an operation does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Body {
    /// The start.
    Genesis(Genesis),
    /// A device becomes a member.
    AddMember(AddMember),
    /// A member's role changes.
    SetRole(SetRole),
    /// A device is no member any more.
    Remove(Remove),
    /// A member's teams change.
    SetTeams(SetTeams),
    /// The access entries of a type change.
    SetAcl(SetAcl),
    /// The kind of policy changes.
    SetPolicy(SetPolicy),
    /// Commits beyond a cut count.
    AcceptRange(LogRange),
    /// A member asks for that; without effect by itself.
    RaiseCut(LogRange),
    /// One branch of a forked log counts: the one that has this commit.
    AcceptBranch {
        /// The log.
        log: LogName,
        /// A commit of the branch, beyond the last common one.
        seq: u64,
        /// Its hash.
        hash: Hash,
    },
    /// A new vault key.
    SetKey(SetKey),
    /// A device is called otherwise.
    SetName(SetName),
    /// The author is no member any more.
    Leave {
        /// What still counts of its logs: all that it has written.
        cuts: Cuts,
    },
    /// The root cancels operations.
    RootVoid(RootVoid),
    /// A kind that this build does not evaluate.
    Unknown {
        /// Its code: at least [`code::COMPACT`].
        code: u64,
        /// Its body as it came.
        bytes: Vec<u8>,
    },
}

impl Body {
    /// The stable code.
    pub fn code(&self) -> u64 {
        match self {
            Body::Genesis(_) => code::GENESIS,
            Body::AddMember(_) => code::ADD_MEMBER,
            Body::SetRole(_) => code::SET_ROLE,
            Body::Remove(_) => code::REMOVE,
            Body::SetTeams(_) => code::SET_TEAMS,
            Body::SetAcl(_) => code::SET_ACL,
            Body::SetPolicy(_) => code::SET_POLICY,
            Body::AcceptRange(_) => code::ACCEPT_RANGE,
            Body::RaiseCut(_) => code::RAISE_CUT,
            Body::AcceptBranch { .. } => code::ACCEPT_BRANCH,
            Body::SetKey(_) => code::SET_KEY,
            Body::SetName(_) => code::SET_NAME,
            Body::Leave { .. } => code::LEAVE,
            Body::RootVoid(_) => code::ROOT_VOID,
            Body::Unknown { code, .. } => *code,
        }
    }

    pub(super) fn encode(&self) -> Zeroizing<Vec<u8>> {
        // With room from the start: no copy of the secret stays behind where the buffer grows.
        let mut out = Zeroizing::new(Vec::with_capacity(32 * 3 + 8 + MAX_DEVICE_NAME_BYTES));
        match self {
            Body::Genesis(genesis) => {
                out.extend_from_slice(&genesis.root.0);
                out.push(policy_byte(genesis.policy));
                out.extend_from_slice(&genesis.admin.0);
                put_bytes(&mut out, genesis.admin_name.as_bytes());
                out.extend_from_slice(&*genesis.secret);
            }
            Body::AddMember(add) => {
                out.extend_from_slice(&add.peer.0);
                out.push(role_byte(add.role));
                put_bytes(&mut out, add.name.as_bytes());
            }
            Body::SetRole(set) => {
                out.extend_from_slice(&set.peer.0);
                out.push(role_byte(set.role));
                put_cuts(&mut out, &set.cuts);
            }
            Body::Remove(remove) => {
                out.extend_from_slice(&remove.peer.0);
                put_cuts(&mut out, &remove.cuts);
            }
            Body::SetTeams(set) => {
                out.extend_from_slice(&set.peer.0);
                put_varint(&mut out, set.teams.len() as u64);
                set.teams.iter().for_each(|team| put_bytes(&mut out, team.0.as_bytes()));
                put_cuts(&mut out, &set.cuts);
            }
            Body::SetAcl(set) => {
                put_bytes(&mut out, set.entity_type.as_str().as_bytes());
                put_entries(&mut out, &set.entries);
                put_cuts(&mut out, &set.cuts);
            }
            Body::SetPolicy(set) => {
                out.push(policy_byte(set.policy));
                put_cuts(&mut out, &set.cuts);
            }
            Body::AcceptRange(range) | Body::RaiseCut(range) => put_range(&mut out, range),
            Body::AcceptBranch { log, seq, hash } => {
                put_log(&mut out, log);
                put_varint(&mut out, *seq);
                out.extend_from_slice(&hash.0);
            }
            Body::SetKey(set) => {
                out.extend_from_slice(&set.name.0);
                put_varint(&mut out, set.sealed.len() as u64);
                for (peer, sealed) in &set.sealed {
                    out.extend_from_slice(&peer.0);
                    put_bytes(&mut out, sealed);
                }
            }
            Body::SetName(set) => {
                out.extend_from_slice(&set.peer.0);
                put_bytes(&mut out, set.name.as_bytes());
            }
            Body::Leave { cuts } => put_cuts(&mut out, cuts),
            Body::RootVoid(void) => {
                put_varint(&mut out, void.ops.len() as u64);
                void.ops.iter().for_each(|op| out.extend_from_slice(&op.0));
            }
            Body::Unknown { bytes, .. } => out.extend_from_slice(bytes),
        }
        out
    }

    pub(super) fn decode(code: u64, bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let body = match code {
            code::GENESIS => Body::Genesis(Genesis {
                root: PeerId(reader.array()?),
                policy: read_policy(reader.byte()?)?,
                admin: PeerId(reader.array()?),
                admin_name: read_name(&mut reader)?,
                secret: Zeroizing::new(reader.array()?),
            }),
            code::ADD_MEMBER => Body::AddMember(AddMember {
                peer: PeerId(reader.array()?),
                role: read_role(reader.byte()?)?,
                name: read_name(&mut reader)?,
            }),
            code::SET_ROLE => Body::SetRole(SetRole {
                peer: PeerId(reader.array()?),
                role: read_role(reader.byte()?)?,
                cuts: read_cuts(&mut reader)?,
            }),
            code::REMOVE => Body::Remove(Remove { peer: PeerId(reader.array()?), cuts: read_cuts(&mut reader)? }),
            code::SET_TEAMS => {
                let peer = PeerId(reader.array()?);
                let count = reader.count(MAX_TEAMS, "teams")?;
                let teams = (0..count).map(|_| read_team(&mut reader)).collect::<Result<SortedSet<_>>>()?;
                Body::SetTeams(SetTeams { peer, teams, cuts: read_cuts(&mut reader)? })
            }
            code::SET_ACL => {
                let entity_type = read_type(&mut reader)?;
                let entries = read_entries(&mut reader, entity_type.as_str())?;
                Body::SetAcl(SetAcl { entity_type, entries, cuts: read_cuts(&mut reader)? })
            }
            code::SET_POLICY => {
                Body::SetPolicy(SetPolicy { policy: read_policy(reader.byte()?)?, cuts: read_cuts(&mut reader)? })
            }
            code::ACCEPT_RANGE => Body::AcceptRange(read_range(&mut reader)?),
            code::RAISE_CUT => Body::RaiseCut(read_range(&mut reader)?),
            code::ACCEPT_BRANCH => {
                Body::AcceptBranch { log: read_log(&mut reader)?, seq: reader.varint()?, hash: Hash(reader.array()?) }
            }
            code::SET_KEY => {
                let name = Hash(reader.array()?);
                let count = reader.count(MAX_SEALED_KEYS, "sealed keys")?;
                let mut sealed = SortedMap::new();
                for _ in 0..count {
                    let peer = PeerId(reader.array()?);
                    sealed.insert(peer, reader.bytes(MAX_SEALED_BYTES, "sealed key")?.to_vec());
                }
                Body::SetKey(SetKey { name, sealed })
            }
            code::SET_NAME => Body::SetName(SetName { peer: PeerId(reader.array()?), name: read_name(&mut reader)? }),
            code::LEAVE => Body::Leave { cuts: read_cuts(&mut reader)? },
            code::ROOT_VOID => {
                let count = reader.count(MAX_VOIDED, "operations to void")?;
                let ops = (0..count).map(|_| reader.array().map(Hash)).collect::<Result<SortedSet<_>>>()?;
                Body::RootVoid(RootVoid { ops })
            }
            _ => return Ok(Body::Unknown { code, bytes: bytes.to_vec() }),
        };
        reader.finish()?;
        // Sets and lists can be written in several ways; one of them is taken.
        if **body.encode() != *bytes {
            return Err(Error::protocol("the body of a membership operation that is not in its one form"));
        }
        Ok(body)
    }

    /// What still counts of the logs that lose the right to write, where it takes any.
    pub(crate) fn cuts(&self) -> Option<&Cuts> {
        match self {
            Body::SetRole(SetRole { cuts, .. })
            | Body::Remove(Remove { cuts, .. })
            | Body::SetTeams(SetTeams { cuts, .. })
            | Body::SetAcl(SetAcl { cuts, .. })
            | Body::SetPolicy(SetPolicy { cuts, .. })
            | Body::Leave { cuts } => Some(cuts),
            _ => None,
        }
    }

    /// The device that it is about, where there is one and it is not the author.
    pub(crate) fn subject(&self) -> Option<PeerId> {
        match self {
            Body::Genesis(genesis) => Some(genesis.admin),
            Body::AddMember(AddMember { peer, .. })
            | Body::SetRole(SetRole { peer, .. })
            | Body::Remove(Remove { peer, .. })
            | Body::SetTeams(SetTeams { peer, .. })
            | Body::SetName(SetName { peer, .. }) => Some(*peer),
            _ => None,
        }
    }
}

/// Each entry: bits of its roles (1 Admin, 2 Member, 4 ReadOnly), then whether it names a team, and which.
fn put_entries(out: &mut Vec<u8>, entries: &[EntityAcl]) {
    put_varint(out, entries.len() as u64);
    for entry in entries {
        out.push(entry.allowed_roles.iter().fold(0, |bits, role| bits | 1 << role_byte(*role)));
        match &entry.team_id {
            None => out.push(0),
            Some(team) => {
                out.push(1);
                put_bytes(out, team.0.as_bytes());
            }
        }
    }
}

fn read_entries(reader: &mut Reader<'_>, entity_type: &str) -> Result<Vec<EntityAcl>> {
    let count = reader.count(MAX_ACL_ENTRIES, "access entries")?;
    let entry = |reader: &mut Reader<'_>| {
        let bits = reader.byte()?;
        if bits > 7 {
            return Err(Error::protocol("an access entry with roles that there are not"));
        }
        let roles = [SyncRole::Admin, SyncRole::Member, SyncRole::ReadOnly];
        let team_id = match reader.byte()? {
            0 => None,
            1 => Some(read_team(reader)?),
            _ => return Err(Error::protocol("an access entry that neither names a team nor none")),
        };
        Ok(EntityAcl {
            entity_type: entity_type.to_owned(),
            allowed_roles: roles.into_iter().filter(|role| bits >> role_byte(*role) & 1 == 1).collect(),
            team_id,
        })
    };
    (0..count).map(|_| entry(reader)).collect()
}

fn read_team(reader: &mut Reader<'_>) -> Result<TeamId> {
    let name = reader.text(MAX_NAME_BYTES, "name of a team")?;
    if name.is_empty() || name.chars().any(char::is_control) {
        return Err(Error::protocol("a team's name that is empty or has control characters"));
    }
    Ok(TeamId(name.to_owned()))
}

fn read_name(reader: &mut Reader<'_>) -> Result<String> {
    let name = reader.text(MAX_DEVICE_NAME_BYTES, "name of a device")?;
    if name.chars().any(char::is_control) {
        return Err(Error::protocol("control characters in the name of a device"));
    }
    Ok(name.to_owned())
}

fn role_byte(role: SyncRole) -> u8 {
    match role {
        SyncRole::Admin => 0,
        SyncRole::Member => 1,
        SyncRole::ReadOnly => 2,
    }
}

fn read_role(byte: u8) -> Result<SyncRole> {
    match byte {
        0 => Ok(SyncRole::Admin),
        1 => Ok(SyncRole::Member),
        2 => Ok(SyncRole::ReadOnly),
        _ => Err(Error::protocol(format!("no role has the number {byte}"))),
    }
}

fn policy_byte(policy: PolicyKind) -> u8 {
    match policy {
        PolicyKind::Personal => 0,
        PolicyKind::Enterprise => 1,
    }
}

fn read_policy(byte: u8) -> Result<PolicyKind> {
    match byte {
        0 => Ok(PolicyKind::Personal),
        1 => Ok(PolicyKind::Enterprise),
        _ => Err(Error::protocol(format!("no kind of policy has the number {byte}"))),
    }
}
