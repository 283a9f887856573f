// Package recovery makes sure that a client that was away misses nothing, or is
// told that it did.
//
// # One log, many cursors
//
// Every recoverable message of a namespace is an [Entry] in the namespace's
// [Log], and has an [Offset] there: "<ms>-<seq>", compared as numbers. All else
// is a cursor into the log. A node is one: it hands entries to its sockets in
// the order of the log, and nothing ahead of it, not even what was published on
// that very node. A client that comes back is one that fell behind: it gets what
// it missed by the same kind of read, from further back. Its offset is all it
// has to remember.
//
// How far back a read can reach depends on the log. The packages below this one
// hold one each, from shallow to deep: package memory the last minutes, package
// disk the last day. [Tiers] reads from several as if they were one.
//
// # A hole is always noticed
//
// Each log knows from which offset on it is complete, its start. A read from
// before that is refused with a [GapError] that names the stretch, and the
// client can be told. A log that begins empty begins now, not at zero: what was
// before it (its storage may have been lost, or the process restarted) is a gap
// and not silence. A position past the end, [ErrFuture], was forged or belongs
// to a log that lost its end. Stored entries are checksummed; one that cannot be
// read back is a gap too. A tier that is out of reach is an error, not a gap:
// it may still have the history.
//
// So what a reader gets is complete, or it is told so. There is no third case,
// and each [Page] says how far it goes.
//
// # Publishing
//
// The [Sequencer] of a namespace is where the order is decided. For each batch
// of what is waiting it
//
//  1. leaves out the entries whose idempotency key the log already has,
//  2. gives the others their offsets, above all that were ever given,
//  3. appends them to the durable log, with one fsync for all,
//  4. appends them to the hot log,
//  5. hands them out to the local sockets, and moves the fence,
//  6. answers the publishers.
//
// The order of steps 3 and 5 is what makes a crash harmless. Were an entry
// handed out first, a crash in between would leave it with some clients and not
// in the log; its publisher, who got no answer, would publish it again, and those
// clients would get it twice. As it is, an entry that anyone has seen is in the
// log, so a repeated publish finds its key there; and an entry that is in the
// log and was not handed out is replayed to every client, since a crash has
// disconnected them all. Killed between any two steps, the node delivers each
// accepted message once.
//
// A commit may fail, and may have taken place nevertheless. The sequencer asks
// the log, and until it knows, accepts nothing more: what is in the log has to
// be handed out before what comes after it. An offset is never used again.
//
// With [Async] durability, entries are handed out before they are committed,
// and a bounded backlog is retried until it is. That is faster to answer and
// survives a disk that fails for a while, and a crash may lose the backlog.
//
// # Restoring a client
//
// The fence, [Sequencer.Fence], joins the past to the present. The function it
// runs sees the offset of the last entry that was handed out, and as long as it
// runs none is. A socket that it adds to its rooms will be handed exactly what
// comes after the fence, which it holds back for the moment; what it missed is
// the read of (its position, fence], in pages; then comes what it held back, and
// it is live. No entry is in both, none in neither.
//
// Whose past that is, [Sessions] says: rooms, data and position under a private
// id. A session belongs to the connection that claimed it last, and only that
// one may store it, so a half-open old connection is taken over and cannot
// interfere. A claim takes nothing out: until the new connection has stored its
// own state the old one remains, and a second cut in the middle of a restore
// loses nothing.
package recovery
