//! What must hold of a journal, whatever happens to its disk.

use std::ops::Range;

use bytes::Bytes;
use proptest::prelude::*;
use uuid::Uuid;

use super::frame::HEADER;
use super::memory::MemoryStorage;
use super::{Generation, Journal, JournalError, Pending, Position, Recovery, Storage};
use crate::paxos::record::{Record, Summary};
use crate::types::{Ballot, Batch, Index, Slot, StorageId};

const SEGMENT: usize = 640;

#[test]
fn a_batch_without_records_touches_no_disk() {
    let journal = fresh(MemoryStorage::new(SEGMENT));
    let refusals = vec![Pending::in_order(1), Pending::in_order(2)];
    let (journal, replies) = journal.commit(refusals, || unreachable!("no segment")).unwrap();
    assert_eq!(replies, [1, 2]);
    assert_eq!((journal.storage.writes, journal.storage.syncs, journal.bytes_in_use()), (0, 0, 0));
}

#[test]
fn one_write_and_one_sync_carry_a_whole_batch_and_its_answers_keep_their_order() {
    let journal = fresh(MemoryStorage::new(SEGMENT));
    let batch = vec![
        Pending::after(vote(1, 9), "vote").with(1),
        Pending::in_order("refusal").with(2),
        Pending::after(vote(2, 9), "another vote").with(3),
    ];
    let (journal, replies) = journal.commit(batch, || summary(1)).unwrap();
    assert_eq!(replies, [(1, "vote"), (2, "refusal"), (3, "another vote")]);
    assert_eq!((journal.storage.writes, journal.storage.syncs), (1, 1));
    let (journal, _) = journal.append(&[vote(3, 9)], || unreachable!("it is open")).unwrap();
    assert_eq!((journal.storage.writes, journal.storage.syncs), (2, 2));
}

#[test]
fn a_sealed_answer_does_not_show_when_printed() {
    let sealed = format!("{:?}", Pending::after(vote(1, 9), "the answer").with("for whom"));
    assert!(sealed.contains("Vote") && !sealed.contains("the answer"), "{sealed}");
}

#[test]
fn a_failed_sync_releases_no_answer_and_the_batch_is_lost_whole() {
    let mut storage = MemoryStorage::new(SEGMENT);
    storage.syncs_left = Some(1);
    let (journal, _) = fresh(storage).append(&[vote(1, 9)], || summary(1)).unwrap();
    let disk = journal.storage.crashed();
    let failed = journal.commit(vec![Pending::after(vote(2, 9), ())], || summary(1));
    assert!(matches!(failed, Err(JournalError::Storage { act: "sync a batch", .. })));
    assert_eq!(reopen(disk).unwrap().1, [vote(1, 9)]);
}

#[test]
fn a_commit_that_exceeds_a_segment_is_split_and_one_record_that_does_is_refused() {
    let records: Vec<_> = (1..=40).map(|slot| vote(slot, 50)).collect();
    let (journal, _) =
        fresh(MemoryStorage::new(SEGMENT)).append(&records[..1], || summary(1)).unwrap();
    let (journal, positions) = journal.append(&records[1..], || summary(40)).unwrap();
    assert!(journal.segments().len() > 3);
    for (record, position) in records[1..].iter().zip(positions) {
        assert!(journal.read(position).unwrap().records.contains(record));
    }
    let (journal, found, _) = reopen(journal.storage.crashed()).unwrap();
    assert_eq!(found, records);
    let error = journal.append(&[vote(41, SEGMENT)], || summary(41)).unwrap_err();
    assert!(matches!(error, JournalError::TooLarge { bytes, capacity } if bytes > capacity));
}

#[test]
fn a_flip_of_any_bit_costs_the_last_batch_at_most_or_is_refused() {
    let every_bit: fn(usize) -> Range<u32> = |_| 0..8;
    let new = recorded(MemoryStorage::new(SEGMENT)).0;
    for (storage, bits) in [(new, every_bit), (recycled(), one_bit)] {
        let batches = batches_of(&storage);
        let (last, before) = batches.split_last().unwrap();
        let (mut kept, mut shortened, mut refused) = (0, 0, 0);
        let all = records_of(&batches);
        for harm in flips(&storage, bits) {
            let place = harm.place();
            match reopen(harm.disk) {
                Ok((journal, found, recovery)) if found == all => {
                    kept += 1;
                    if recovery.torn.is_some() {
                        goes_on(journal, &found);
                    }
                }
                Ok((journal, found, recovery)) => {
                    shortened += 1;
                    assert!(place >= last.0, "{place}: a batch was lost that was not harmed");
                    assert_eq!(found, records_of(before), "{place}");
                    assert_eq!(recovery.torn.map(|torn| torn.position), Some(last.0), "{place}");
                    goes_on(journal, &found);
                }
                Err(JournalError::Damaged { .. }) => refused += 1,
                Err(error) => panic!("{place}: {error}"),
            }
        }
        assert!(kept > 0 && shortened > 0 && refused > 0, "{kept}, {shortened}, {refused}");
    }
}

#[test]
fn a_segment_cut_short_at_any_byte_is_refused_and_told_where() {
    for storage in [recorded(MemoryStorage::new(SEGMENT)).0, recycled()] {
        for harm in cuts(&storage) {
            let place = harm.place();
            let error = reopen(harm.disk).unwrap_err();
            assert!(
                matches!(error, JournalError::Damaged { segment, offset, .. }
                    if Position { generation: segment, offset } == place),
                "{place}: {error}"
            );
        }
    }
}

#[test]
fn a_journal_zero_from_any_byte_on_holds_the_batches_before_it_or_is_refused() {
    let (storage, batches) = recorded(MemoryStorage::new(SEGMENT));
    let last = *storage.segments().last().unwrap();
    let mut starts = Vec::new();
    Journal::open(storage.clone(), None, |position, _| {
        starts.push(position);
        Ok(())
    })
    .unwrap();
    starts.dedup();
    for generation in storage.segments() {
        for byte in 0..SEGMENT {
            let mut zeroed = storage.clone();
            zeroed.bytes_of(generation.get())[byte..].fill(0);
            let changed =
                zeroed.segments[&generation].durable != storage.segments[&generation].durable;
            match reopen(zeroed) {
                Ok((_, found, _)) if changed => {
                    assert_eq!(generation, last, "zero from {byte}");
                    let offset = u64::try_from(byte).unwrap();
                    let begun =
                        starts.partition_point(|start| *start < Position { generation, offset });
                    let kept = found.len() / 2;
                    assert!(
                        (begun - 1..=begun).contains(&kept),
                        "zero from {byte}: {kept} of {begun}"
                    );
                    assert_eq!(found, batches[..kept].concat(), "zero from {byte}");
                }
                Ok((_, found, _)) => assert_eq!(found, batches.concat()),
                Err(error) => assert!(changed && generation != last, "{byte}: {error}"),
            }
        }
    }
}

#[test]
fn a_batch_larger_than_a_read_is_recovered_and_cut_like_any_other() {
    let large = 5 << 19;
    let segment = 8 << 20;
    let (journal, _) =
        fresh(MemoryStorage::new(segment)).append(&[vote(1, large)], || summary(1)).unwrap();
    let before = journal.storage.crashed();
    let (journal, positions) = journal.append(&[vote(2, large)], || summary(2)).unwrap();
    assert_eq!(journal.read(positions[0]).unwrap().records, [vote(2, large)]);
    assert_eq!(reopen(journal.storage.crashed()).unwrap().1, [vote(1, large), vote(2, large)]);

    let torn = before.torn(&journal.storage, |byte| byte != large / 2);
    let (journal, found, recovery) = reopen(torn).unwrap();
    assert_eq!(
        (found, recovery.torn.map(|torn| torn.position)),
        (vec![vote(1, large)], Some(positions[0]))
    );
    let cleared = usize::try_from(positions[0].offset).unwrap();
    assert!(journal.storage.crashed().bytes_of(1)[cleared..].iter().all(|byte| *byte == 0));
}

#[test]
fn a_later_format_is_refused_also_in_the_last_batch() {
    let (journal, positions) =
        fresh(MemoryStorage::new(SEGMENT)).append(&[vote(1, 9)], || summary(1)).unwrap();
    let (generation, length) = (positions[0].generation, journal.tail.unwrap().offset);
    let mut storage = journal.storage;
    let frame = storage.bytes_of(generation.get());
    frame[12] = 2;
    let payload = usize::try_from(u32::from_le_bytes(frame[8..12].try_into().unwrap())).unwrap();
    let crc = crc32c::crc32c(&frame[8..HEADER + payload]);
    frame[4..8].copy_from_slice(&crc.to_le_bytes());
    assert!(u64::try_from(payload).unwrap() < length);
    let error = reopen(storage).unwrap_err().to_string();
    assert!(error.contains("format version 2"), "{error}");
}

#[test]
fn damage_before_the_last_batch_is_refused_and_located() {
    let (storage, _) = recorded(MemoryStorage::new(SEGMENT));
    let mut early = storage.clone();
    early.bytes_of(2)[50] ^= 1;
    let error = reopen(early).unwrap_err();
    assert!(
        matches!(error, JournalError::Damaged { segment: Generation(2), offset: 0, .. }),
        "{error}"
    );
    let mut blank = storage;
    blank.bytes_of(1).fill(0);
    assert!(matches!(reopen(blank), Err(JournalError::Damaged { segment: Generation(1), .. })));
}

#[test]
fn a_torn_batch_whose_header_is_there_tells_that_the_one_before_it_is_lost() {
    let mut journal = fresh(MemoryStorage::new(SEGMENT));
    let (mut inside, mut across) = (0, 0);
    let mut newest: Option<Position> = None;
    for slot in 1..=12 {
        let before = journal.storage.crashed();
        let positions;
        (journal, positions) = journal.append(&[vote(slot, 90)], || summary(slot)).unwrap();
        let Some(lost) = newest.replace(positions[0]) else { continue };
        let torn = before.torn(&journal.storage, |byte| byte < HEADER);
        assert!(reopen(torn.clone()).is_ok(), "slot {slot}: a torn batch alone is cut");
        let at = usize::try_from(lost.offset).unwrap();
        let mut zeroed = torn.clone();
        zeroed.bytes_of(lost.generation.get())[at..][..HEADER].fill(0);
        let mut rotten = torn;
        rotten.bytes_of(lost.generation.get())[at + HEADER] ^= 1;
        for harmed in [zeroed, rotten] {
            let error = reopen(harmed).unwrap_err();
            assert!(
                matches!(error, JournalError::Damaged { .. }),
                "slot {slot}: an answered vote is gone: {error}"
            );
        }
        if lost.generation == positions[0].generation { inside += 1 } else { across += 1 }
    }
    assert!(inside > 3 && across > 1, "{inside}, {across}");
}

#[test]
fn a_missing_segment_is_refused() {
    let (storage, _) = recorded(MemoryStorage::new(SEGMENT));
    for missing in [1, 2] {
        let mut holed = storage.clone();
        holed.segments.remove(&Generation(missing));
        let error = reopen(holed).unwrap_err();
        assert!(matches!(error, JournalError::Missing { segment } if segment.get() == missing));
    }
    let beyond = Some(Generation(99));
    let error = Journal::open(storage, beyond, |_, _| Ok(())).unwrap_err();
    assert!(matches!(error, JournalError::Missing { segment: Generation(99) }));
}

#[test]
fn a_segment_created_but_never_written_is_used_again() {
    let (mut storage, batches) = recorded(MemoryStorage::new(SEGMENT));
    let next = storage.segments().last().unwrap().next();
    storage.create(next).unwrap();
    let (journal, found, _) = reopen(storage).unwrap();
    assert_eq!(found, batches.concat());
    let (journal, positions) = journal.append(&[vote(900, 9)], || summary(900)).unwrap();
    assert_eq!(positions, [Position { generation: next, offset: 0 }]);
    assert_eq!(reopen(journal.storage.crashed()).unwrap().1.last(), Some(&vote(900, 9)));
}

#[test]
fn what_was_recovered_is_synced_before_it_is_trusted() {
    let (journal, _) =
        fresh(MemoryStorage::new(SEGMENT)).append(&[vote(1, 9)], || summary(1)).unwrap();
    let mut cached = journal.storage;
    let Position { generation, offset } = journal.tail.unwrap();
    let (journal, _) = Journal { storage: cached.clone(), ..reopen(cached.clone()).unwrap().0 }
        .append(&[vote(2, 9)], || summary(1))
        .unwrap();
    let written = journal.storage.last_write.unwrap().2;
    // The process died between write and sync; the machine lives, and shows what it has not synced.
    cached.write(generation, offset, &written).unwrap();
    let (journal, found, _) = reopen(cached).unwrap();
    assert_eq!(found, [vote(1, 9), vote(2, 9)]);
    assert_eq!(reopen(journal.storage.crashed()).unwrap().1, found);
}

#[test]
fn released_segments_go_after_the_next_commit_and_their_files_are_used_again() {
    let (storage, _) = recorded(MemoryStorage::new(SEGMENT));
    let (mut journal, _, _) = reopen(storage).unwrap();
    let count = journal.storage.segments().len();
    let in_use = journal.bytes_in_use();
    let kept = journal.segments()[2].1.highest_vote;
    journal.release_votes(kept.previous());
    assert_eq!(journal.storage.segments().len(), count);
    assert_eq!(journal.bytes_in_use(), in_use - 2 * u64::try_from(SEGMENT).unwrap());
    let (mut journal, _) = journal.append(&[Record::Trim { slot: kept }], || summary(900)).unwrap();
    assert_eq!(journal.storage.segments().first(), Some(&Generation(3)));

    for slot in 1_000..1_040 {
        (journal, _) = journal.append(&[vote(slot, 30)], || summary(slot)).unwrap();
    }
    assert!(journal.storage.spares.is_empty());
    let (journal, found, recovery) = reopen(journal.storage.crashed()).unwrap();
    assert_eq!((found.last(), recovery.torn), (Some(&vote(1_039, 30)), None));

    let mut stolen = journal.storage.crashed();
    stolen.segments.remove(&Generation(3));
    assert!(matches!(reopen(stolen), Err(JournalError::Missing { segment: Generation(3) })));
}

#[test]
fn a_retirement_that_a_crash_cut_short_is_finished() {
    let (storage, _) = recorded(MemoryStorage::new(SEGMENT));
    let (mut journal, _, _) = reopen(storage.clone()).unwrap();
    journal.release_before(Generation(3));
    let (journal, _) = journal.append(&[vote(900, 9)], || summary(900)).unwrap();
    let mut disk = journal.storage.crashed();
    disk.segments.insert(Generation(2), storage.segments[&Generation(2)].clone());
    let (journal, _, _) = reopen(disk).unwrap();
    assert_eq!(journal.storage.segments().first(), Some(&Generation(3)));
}

#[test]
fn the_current_segment_is_never_released() {
    let (storage, _) = recorded(MemoryStorage::new(SEGMENT));
    let (mut journal, _, _) = reopen(storage).unwrap();
    journal.release_votes(Slot::new(u64::MAX));
    journal.release_before(Generation(u64::MAX));
    let (journal, _) = journal.append(&[vote(900, 9)], || summary(900)).unwrap();
    let last = *journal.storage.segments().last().unwrap();
    assert_eq!(journal.segments().last().unwrap().0, last);
    assert!(reopen(journal.storage.crashed()).is_ok());
}

#[test]
fn skipped_segments_are_known_by_their_first_batch_alone() {
    let mut journal = fresh(MemoryStorage::new(SEGMENT));
    for slot in 1..=30 {
        (journal, _) = journal.append(&[entry(slot)], || learner_summary(slot)).unwrap();
    }
    let infos = journal.segments().to_vec();
    let from = infos[2].0;
    let mut visited = Vec::new();
    let (journal, recovery) =
        Journal::open(journal.storage.crashed(), Some(from), |position, record| {
            visited.push((position.generation, record));
            Ok(())
        })
        .unwrap();
    assert_eq!(journal.segments(), infos);
    assert_eq!(infos[0].1.first_entry, Some((Slot::new(1), Index::new(10))));
    assert!(visited.iter().all(|(generation, _)| *generation >= from));
    assert_eq!(visited.last().unwrap().1, entry(30));
    assert!(recovery.batches < 30);
}

#[test]
fn batches_are_read_one_after_the_other() {
    let (journal, positions) =
        fresh(MemoryStorage::new(SEGMENT)).append(&[entry(1)], || learner_summary(1)).unwrap();
    let (journal, more) = journal.append(&[entry(2), entry(3)], || learner_summary(3)).unwrap();
    let first = journal.read(positions[0]).unwrap();
    assert_eq!(first.records, [Record::Summary(learner_summary(1)), entry(1)]);
    assert_eq!((first.next, more[0]), (more[0], more[1]));
    let second = journal.read(first.next).unwrap();
    assert_eq!(second.records, [entry(2), entry(3)]);
    assert!(matches!(journal.read(second.next), Err(JournalError::Damaged { .. })));
    let nowhere = Position { generation: Generation(8), offset: 0 };
    assert!(matches!(journal.read(nowhere), Err(JournalError::Storage { .. })));
}

#[test]
#[should_panic(expected = "a durable promise never falls")]
fn a_record_below_the_promise_is_never_written() {
    let records = [Record::Promise { ballot: ballot(7) }, Record::Promise { ballot: ballot(6) }];
    drop(fresh(MemoryStorage::new(SEGMENT)).append(&records, || summary(7)));
}

#[test]
fn a_promise_that_falls_is_refused_at_replay() {
    let mut journal = fresh(MemoryStorage::new(SEGMENT));
    for round in [7, 6] {
        journal.promised = None;
        (journal, _) =
            journal.append(&[Record::Promise { ballot: ballot(round) }], || summary(56)).unwrap();
    }
    assert!(matches!(reopen(journal.storage), Err(JournalError::Damaged { .. })));
}

#[test]
fn a_refusal_of_the_reader_is_passed_on_with_its_place() {
    let (storage, _) = recorded(MemoryStorage::new(SEGMENT));
    let refused = Journal::open(storage, None, |_, _| Err("no".to_owned()));
    assert!(matches!(refused, Err(JournalError::Refused { reason, .. }) if reason == "no"));
}

#[test]
fn a_segment_size_that_cannot_work_is_refused() {
    let tiny = Journal::open(MemoryStorage::new(64), None, |_, _| Ok(()));
    assert!(matches!(tiny, Err(JournalError::SegmentSize { bytes: 64 })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_crash_within_a_write_keeps_the_batch_whole_or_loses_it_whole(
        sizes in prop::collection::vec(0..120_usize, 1..30),
        prefix in 0..SEGMENT,
        sectors in any::<u64>(),
        sector in prop::sample::select(vec![1_usize, 8, 32, 64]),
        in_order in any::<bool>(),
        trimmed in any::<bool>(),
    ) {
        let mut journal = fresh(MemoryStorage::new(SEGMENT));
        let mut batches: Vec<Record> = Vec::new();
        let mut before = journal.storage.clone();
        for (slot, size) in (1..).zip(sizes) {
            before = journal.storage.crashed();
            if trimmed && journal.segments().len() > 2 {
                let oldest = journal.segments()[1].0;
                journal.release_before(oldest);
                (journal, _) = journal.append(&[vote(slot, 1)], || summary(slot)).unwrap();
                batches = reopen(journal.storage.crashed()).unwrap().1;
                before = journal.storage.crashed();
            }
            (journal, _) = journal.append(&[vote(slot, size)], || summary(slot)).unwrap();
            batches.push(vote(slot, size));
        }
        let torn = before.torn(&journal.storage, |byte| {
            if in_order { byte < prefix } else { sectors >> (byte / sector % 64) & 1 == 1 }
        });
        let (journal, found, _) = reopen(torn).unwrap();
        prop_assert!(found == batches || found == batches[..batches.len() - 1]);
        let (journal, _) = journal.append(&[vote(500, 1)], || summary(500)).unwrap();
        let (_, again, recovery) = reopen(journal.storage.crashed()).unwrap();
        prop_assert_eq!(&again[..again.len() - 1], &found[..]);
        prop_assert_eq!((again.last(), recovery.torn), (Some(&vote(500, 1)), None));
    }
}

/// The same story on any storage; `restart` gives it back as a new process finds it.
pub(crate) fn story<S: Storage>(storage: S, restart: impl Fn(S) -> S) {
    let mut journal = fresh(storage);
    let mut positions = Vec::new();
    let value = usize::try_from(journal.storage.segment_bytes()).unwrap() / 10;
    for slot in 1..=60 {
        let at;
        (journal, at) = journal.append(&[vote(slot, value)], || summary(slot)).unwrap();
        positions.extend(at);
    }
    for (slot, position) in (1..).zip(&positions) {
        assert!(journal.read(*position).unwrap().records.contains(&vote(slot, value)));
    }

    let (mut journal, found, recovery) = reopen(restart(journal.storage)).unwrap();
    assert_eq!(found, (1..=60).map(|slot| vote(slot, value)).collect::<Vec<_>>());
    assert_eq!((recovery.batches, recovery.torn), (60, None));

    journal.release_votes(Slot::new(40));
    let kept = journal.segments().iter().find(|(_, info)| info.highest_vote > Slot::new(40));
    let kept = kept.unwrap().0;
    assert!(kept > Generation::FIRST);
    for slot in 61..=90 {
        (journal, _) = journal.append(&[vote(slot, value)], || summary(slot)).unwrap();
    }
    let (journal, found, recovery) = reopen(restart(journal.storage)).unwrap();
    assert_eq!(journal.segments().first().unwrap().0, kept);
    assert_eq!(journal.storage.segments().first(), Some(&kept));
    assert!(found.contains(&vote(41, value)) && !found.contains(&vote(1, value)));
    assert_eq!((found.last(), recovery.torn), (Some(&vote(90, value)), None));
}

#[test]
fn the_story_holds_in_memory() {
    story(MemoryStorage::new(SEGMENT), |storage| storage.crashed());
}

fn fresh<S: Storage>(storage: S) -> Journal<S> {
    let (journal, recovery) =
        Journal::open(storage, None, |_, _| unreachable!("nothing is there")).unwrap();
    assert_eq!(recovery, Recovery::default());
    journal
}

/// The journal as it opens, and its records without the summaries.
fn reopen<S: Storage>(storage: S) -> Result<(Journal<S>, Vec<Record>, Recovery), JournalError> {
    let mut found = Vec::new();
    let (journal, recovery) = Journal::open(storage, None, |_, record| {
        if !matches!(record, Record::Summary(_)) {
            found.push(record);
        }
        Ok(())
    })?;
    Ok((journal, found, recovery))
}

/// A journal's disk that was harmed in one place.
#[derive(Debug)]
pub(crate) struct Harm {
    generation: Generation,
    /// The first byte that is not as it was.
    byte: usize,
    pub(crate) disk: MemoryStorage,
}

impl Harm {
    pub(crate) fn place(&self) -> Position {
        Position { generation: self.generation, offset: u64::try_from(self.byte).unwrap() }
    }
}

/// The disk once for each byte of each segment and each of its `bits`, flipped.
pub(crate) fn flips(
    storage: &MemoryStorage,
    bits: impl Fn(usize) -> Range<u32>,
) -> impl Iterator<Item = Harm> {
    harms(storage, move |byte| bits(byte).map(|bit| Some(1 << bit)).collect())
}

/// One bit of each byte, another for each: where all would take too long.
pub(crate) fn one_bit(byte: usize) -> Range<u32> {
    let bit = u32::try_from(byte % 8).unwrap();
    bit..bit + 1
}

/// The disk once for each byte of each segment, cut short there.
pub(crate) fn cuts(storage: &MemoryStorage) -> impl Iterator<Item = Harm> {
    harms(storage, |_| vec![None])
}

/// The disk once for each byte of each segment and each of its masks; without one, it is cut.
fn harms(
    storage: &MemoryStorage,
    masks: impl Fn(usize) -> Vec<Option<u8>>,
) -> impl Iterator<Item = Harm> {
    let bytes = storage.segment_bytes;
    let places =
        storage.segments().into_iter().flat_map(move |it| (0..bytes).map(move |at| (it, at)));
    places.flat_map(move |(generation, byte)| {
        let harmed = |mask| {
            let mut disk = storage.clone();
            let segment = disk.bytes_of(generation.get());
            match mask {
                Some(mask) => segment[byte] ^= mask,
                None => segment.truncate(byte),
            }
            Harm { generation, byte, disk }
        };
        masks(byte).into_iter().map(harmed).collect::<Vec<_>>()
    })
}

/// The batches of a journal, without the summaries.
fn batches_of(storage: &MemoryStorage) -> Vec<(Position, Vec<Record>)> {
    let mut batches: Vec<(Position, Vec<Record>)> = Vec::new();
    Journal::open(storage.clone(), None, |position, record| {
        if batches.last().is_none_or(|(last, _)| *last != position) {
            batches.push((position, Vec::new()));
        }
        if !matches!(record, Record::Summary(_)) {
            batches.last_mut().unwrap().1.push(record);
        }
        Ok(())
    })
    .unwrap();
    batches
}

fn records_of(batches: &[(Position, Vec<Record>)]) -> Vec<Record> {
    batches.iter().flat_map(|(_, records)| records.clone()).collect()
}

/// A journal that was opened takes another batch, and holds it behind the others.
fn goes_on(journal: Journal<MemoryStorage>, found: &[Record]) {
    let (journal, _) = journal.append(&[vote(900, 9)], || summary(900)).unwrap();
    let (_, again, recovery) = reopen(journal.storage.crashed()).unwrap();
    assert_eq!((again.last(), recovery.torn), (Some(&vote(900, 9)), None));
    assert_eq!(&again[..again.len() - 1], found);
}

/// A journal in files that were used before, the last of them with several batches, and with one of
/// its former life behind them.
fn recycled() -> MemoryStorage {
    let (mut journal, _, _) = reopen(recorded(MemoryStorage::new(SEGMENT)).0).unwrap();
    let newest = journal.segments().last().unwrap().0;
    journal.release_before(newest);
    for slot in 30.. {
        (journal, _) = journal.append(&[vote(slot, 35)], || summary(slot)).unwrap();
        let tail = journal.tail.unwrap();
        let mut storage = journal.storage.crashed();
        let segment = storage.bytes_of(tail.generation.get());
        let behind = &segment[usize::try_from(tail.offset).unwrap()..];
        let is_used_again = behind.windows(4).any(|bytes| bytes == super::frame::MAGIC);
        let batches = batches_of(&storage).into_iter().rev();
        let newest = batches.take_while(|(at, _)| at.generation == tail.generation).count();
        if slot > 45 && is_used_again && newest > 1 {
            return storage;
        }
    }
    unreachable!("spares are used before new files are made")
}

/// A journal of a few segments, the last of them with several batches.
fn recorded(storage: MemoryStorage) -> (MemoryStorage, Vec<Vec<Record>>) {
    let mut journal = fresh(storage);
    let mut batches = Vec::new();
    for slot in 1..=12 {
        let batch = vec![vote(slot * 2, 60), vote(slot * 2 + 1, 7)];
        (journal, _) = journal.append(&batch, || summary(slot * 2 + 1)).unwrap();
        batches.push(batch);
    }
    assert!(journal.segments().len() > 3);
    (journal.storage.crashed(), batches)
}

fn ballot(round: u64) -> Ballot {
    Ballot::from_proposal_number(round * 100 + 1).unwrap()
}

fn batch(bytes: usize) -> Batch {
    Batch::from_bytes(Bytes::from(vec![b'v'; bytes]))
}

/// A vote; its round rises slowly with its slot.
fn vote(slot: u64, bytes: usize) -> Record {
    Record::Vote { ballot: ballot(slot / 8), slot: Slot::new(slot), batch: batch(bytes) }
}

fn entry(slot: u64) -> Record {
    let first_index = Index::new(slot * 10);
    Record::Entry {
        slot: Slot::new(slot),
        ballot: ballot(1),
        first_index,
        skipped: Vec::new(),
        delivered_at_ms: 0,
        batch: batch(80),
    }
}

/// Its promise is that of a vote in `slot`.
fn summary(slot: u64) -> Summary {
    Summary::Acceptor {
        storage: StorageId(Uuid::from_u128(5)),
        promised: Some(ballot(slot / 8)),
        trimmed_slot: Slot::ZERO,
        highest_voted: Slot::new(slot),
        epoch: None,
    }
}

fn learner_summary(slot: u64) -> Summary {
    Summary::Learner {
        storage: StorageId(Uuid::from_u128(5)),
        epoch: None,
        slot: Slot::new(slot),
        index: Index::new(slot * 10),
    }
}
