//! The faults that a world injects, and how many there were of each.

use std::collections::BTreeMap;
use std::fmt;

macro_rules! faults {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// A kind of fault.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum Fault { $($(#[$doc])* $variant,)* }

        impl Fault {
            /// All kinds.
            pub const ALL: &'static [Fault] = &[$(Fault::$variant,)*];

            /// In words.
            pub const fn name(self) -> &'static str {
                match self { $(Fault::$variant => $name,)* }
            }
        }
    };
}

faults! {
    /// A link is lost with all that is under way on it.
    LinkLost = "links lost",
    /// Some devices cannot reach some others.
    Partition = "partitions",
    /// A dial fails.
    DialFailed = "dials failed",
    /// Both sides dialled at once.
    BothDialled = "both sides dialled at once",
    /// A newer link takes the place of one that is still open.
    LinkReplaced = "links replaced",
    /// Frames of one link overtake those of another.
    Reordered = "frames that overtook another link's",
    /// A crash before a write that was asked for.
    CrashBeforeWrite = "crashes before a write",
    /// A crash with some of several writes done.
    CrashBetweenWrites = "crashes between writes",
    /// A crash after a write that was not reported yet.
    CrashAfterWrite = "crashes after a write, before its report",
    /// An orderly end and start.
    Restart = "restarts",
    /// A write fails for want of room.
    WriteFailed = "failing writes",
    /// A stored block is damaged.
    DamagedBlock = "damaged blocks",
    /// A stored page is damaged.
    DamagedPage = "damaged pages",
    /// A clock is wrong, by up to a year.
    WrongClock = "wrong clocks",
    /// A clock jumps.
    ClockJump = "clock jumps",
    /// A device is restored from an old copy, and knows it.
    RestoredMarked = "devices restored, with a new mark",
    /// A device is restored from an old copy, and does not know it.
    RestoredUnmarked = "devices restored, mark and all",
    /// A data folder is copied and run twice.
    Cloned = "data folders run twice",
    /// A member shows different peers different branches of its log.
    ForkedOnPurpose = "members that fork their log",
    /// A stranger connects.
    Stranger = "strangers",
    /// Garbage is sent.
    Garbage = "frames of garbage",
    /// A ReadOnly device tries to write.
    WriteRefused = "writes of ReadOnly devices",
    /// A member's role or name changes.
    MemberChanged = "changes of members",
    /// A member is removed.
    MemberRemoved = "removed members",
    /// A member leaves.
    MemberLeft = "members that left",
    /// One that was removed is invited again.
    MemberTakenBack = "members taken back",
    /// Teams, a type's list or the policy change.
    ListChanged = "changes of teams, lists and policy",
    /// Two Admins remove each other while they are apart.
    AdminsRemovedEachOther = "pairs of Admins that removed each other",
    /// The recovery words make a device an Admin.
    Recovered = "recoveries by the words",
    /// A commit that its author's engine would have refused, or that pretends to know less than it does.
    WrittenUnlawfully = "commits of a device that means harm",
    /// The same of membership operations.
    SignedUnlawfully = "membership operations of a device that means harm",
    /// Two devices pair by a code: no fault, but it has to happen.
    Paired = "ends of pairings by a code",
    /// A pairing ends without trust.
    PairingFailed = "ends of pairings without trust",
    /// A user types another code than is shown.
    CodeMistyped = "codes mistyped",
    /// A relay names another device than the number is of.
    NameplateWrong = "numbers of which the relay names the wrong device",
    /// A device pauses its links.
    Paused = "pauses",
}

/// How many faults of each kind there were.
#[derive(Clone, Default, Debug)]
pub struct Faults(BTreeMap<Fault, u64>);

impl Faults {
    pub(super) fn add(&mut self, fault: Fault) {
        *self.0.entry(fault).or_default() += 1;
    }

    /// How many of one kind.
    pub fn count(&self, fault: Fault) -> u64 {
        self.0.get(&fault).copied().unwrap_or(0)
    }

    /// Adds those of another run.
    pub fn append(&mut self, other: &Faults) {
        other.0.iter().for_each(|(fault, count)| *self.0.entry(*fault).or_default() += count);
    }

    /// The kinds of which there was none.
    pub fn missing(&self) -> Vec<&'static str> {
        Fault::ALL.iter().filter(|fault| self.count(**fault) == 0).map(|fault| fault.name()).collect()
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Fault::ALL.iter().try_for_each(|fault| writeln!(f, "{:>9}  {}", self.count(*fault), fault.name()))
    }
}
