//! Positions: of a batch in the Multi-Paxos log, and of a value in the delivered order.

use std::fmt;

/// A position in the Multi-Paxos log. The first is 1; 0 stands for "before the first".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Slot(u64);

/// A position in the delivered order of values: 1, 2, 3, … without a gap; 0 stands for "none yet".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Index(u64);

macro_rules! position {
    ($type:ident) => {
        impl $type {
            /// The position before the first.
            pub const ZERO: Self = Self(0);
            /// The first position.
            pub const FIRST: Self = Self(1);

            /// The position numbered `number`.
            #[must_use]
            pub const fn new(number: u64) -> Self {
                Self(number)
            }

            /// Its number.
            #[must_use]
            pub const fn get(self) -> u64 {
                self.0
            }

            /// The position after this one.
            #[must_use]
            pub const fn next(self) -> Self {
                self.plus(1)
            }

            /// The position before this one; that of `ZERO` is `ZERO`.
            #[must_use]
            pub const fn previous(self) -> Self {
                Self(self.0.saturating_sub(1))
            }

            /// The position `count` further on; it saturates.
            #[must_use]
            pub const fn plus(self, count: u64) -> Self {
                Self(self.0.saturating_add(count))
            }

            /// How many positions this one lies beyond `other`; zero where it does not.
            #[must_use]
            pub const fn beyond(self, other: Self) -> u64 {
                self.0.saturating_sub(other.0)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

position!(Slot);
position!(Index);
