// Package dynamodb keeps history and sessions in a DynamoDB table: the deepest
// tier of a cluster, or of a single node that is to keep nothing on its disk.
//
// # The table
//
// One table holds everything. Its partition key "p" is a string, its sort key
// "o" 16 bytes; [CreateTable] makes it. With names in place of escaped ones:
//
//	a:<ns>          o = offset    entries for everyone in a namespace
//	r:<ns>:<room>   o = offset    entries for a room
//	c:<ns>:<offset> o = number    pieces of an entry that fits no item (400 KB)
//	i:<ns>:<id>     o = 0         the offset of an idempotency key
//	h:<ns>          o = 0         the head: Start, Last, the floor (see below)
//	s:<pid>         o = 0         a session
//	t:<twineid>     o = hash(pid) which sessions a browser has
//	m:              o = 0         when the table began, and its identity
//	m:sessions      o = 0         which sessions were given up
//
// An entry for several rooms is copied to each of them if its item is no larger
// than 1 KB, which is the unit of writing, because a reference would cost the
// same to write and a second read to follow. A larger one is stored in the first
// room, or in pieces, and the others refer to it.
//
// All but the heads have the attribute "expires", in seconds since 1970, for the
// table's TTL. DynamoDB deletes late, by up to days, so reading does not rely on
// it: entries before Start, and sessions past their time, count as gone. Entries
// are given an hour more than the window, so that none goes before its time when
// clocks differ.
//
// A room takes what one DynamoDB partition does, 1,000 writes of 1 KB a second.
// Past that appends are throttled, are retried, and fail in the end.
//
// # One writer
//
// By default the [Log] is what recovery.Log says: one process appends to a
// namespace, in ascending order, all or nothing. BatchWriteItem is neither atomic
// nor ordered, so entries are written first, and become part of the log when one
// conditional update of the namespace's head moves Last past them. What a failed
// append has left behind, or a request of it that arrives late, is never read:
// each item names the generation it was written in, the head says which
// generation is valid from which offset on, and after a failure a new one begins.
// A process that opens a namespace fences off the one that had it before, even to
// read, so one process at a time must use it. What is left to chance: a request
// that a process made before it crashed, that takes effect after its successor
// has started, at an offset that the successor uses too, which takes a clock set
// back in between.
//
// # Many writers
//
// With [Options].Shared, several nodes append to one namespace, with offsets that
// were assigned elsewhere (by Redis). Entries arrive out of order, so the newest
// one says nothing about those before it; Last is no more than the newest that
// was accepted. Instead, each namespace has a floor:
//
//   - a reader that wants everything up to some offset first raises the floor to
//     it, and then reads;
//   - a writer stores its entries, and then looks at the floor. If that has
//     reached its entries, a reader may have passed them, and Append fails with
//     [ErrLate].
//
// All this is linearized by DynamoDB at the head item. If a writer saw the floor
// below an entry, then whoever raises it past the entry does so later, reads
// later still, and finds the entry. So:
//
//   - up to the floor, a reader sees every entry that was ever accepted. That is
//     how far a Page goes, its Next is never above it. No clock is involved.
//   - it may also see entries that were not accepted: those whose publishers
//     were told so, or got no answer.
//   - above the floor it may conclude nothing, and it is given nothing.
//
// Clocks only decide when to raise the floor: readers raise it up to
// Options.CommitDelay before now. If clocks differ by more than that, appends
// fail, loudly; entries are not lost.
//
// What a tiered reader has to do is what recovery.Tiered does: read on from Next
// in the tier above. If there is none that covers it (Redis was lost a moment
// ago), Read fails with [ErrUnsettled] until CommitDelay has passed. That is not
// a gap. The reader has to wait, or to have its client come again, as for any
// tier that is out of reach. To be kind to writers it should not ask for more
// than it needs: with q.Through at the Start of the tier above, the floor stays
// minutes behind.
//
// A publisher whose append failed may append the same entry again at the same
// offset, from any node, as long as it is not late. After ErrLate it needs a new
// offset; whoever was handed the first one gets it again. Idempotency keys are
// stored once their entry was accepted, so one that Lookup knows was.
//
// # What is lost is noticed
//
// The table has an identity and a time at which it began, and so has the head of
// each namespace. A table that was lost and made anew, be it while processes were
// running, begins now: positions before are a gap. Every Read looks at the head
// after the entries, so a table that was replaced meanwhile does not pass for an
// empty one. A table that is missing is an error, [ErrNoTable], and not a gap.
//
// # Cost
//
// An estimate, at assumed on-demand prices of $0.625 for a million write units,
// $0.125 for a million read units and $0.25 for a GB and month (us-east-1, list
// prices of 2025; look up yours):
//
//	per million messages of 512 bytes          units                   dollars
//	entry in one room                          1.0 M writes            0.625
//	head, one a commit of 25 (150 B)           0.04 M writes           0.025
//	storage, 24 to 48 h of 0.7 GB              0.05 GB months          0.01
//	in all                                                             0.66
//	with an idempotency key                    1 M writes, 1 M reads   +0.75
//	for each further room                      1 M writes              +0.625
//	each restored client of 10 rooms           12+ reads               0.0000015
//
// Deletion by TTL costs nothing. A message of 4 KB costs four writes, and one for
// each further room. A stored session costs a write for each KB and store; the
// index of its browser another one a day. A commit of fewer entries costs more:
// a message that has one to itself costs a second write, $1.25 per million.
package dynamodb
