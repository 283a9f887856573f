//go:build redis

package redislog

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/recovery/redis/redistest"
)

// load publishes with keys, from several goroutines on each node, until stopped,
// and publishes again what was refused.
type load struct {
	running  sync.WaitGroup
	stopped  atomic.Bool
	accepted sync.Map // id to offset
	count    atomic.Int64
}

func startLoad(nodes ...*node) *load {
	l := new(load)
	for _, n := range nodes {
		for p := range 4 {
			l.running.Go(func() {
				for i := 0; !l.stopped.Load(); i++ {
					id := fmt.Sprintf("%s-%d-%d", n.stream.UID(), p, i)
					l.accepted.Store(id, n.publish(entry(id, "r")))
					l.count.Add(1)
				}
			})
		}
	}
	return l
}

func (l *load) more(t *testing.T, n int64) {
	t.Helper()
	want := l.count.Load() + n
	eventually(t, "publishing goes on", func() bool { return l.count.Load() >= want })
}

func (l *load) stop() { l.stopped.Store(true); l.running.Wait() }

// whole checks that nodes handed out all that was accepted, once, in one order,
// without a gap.
func (l *load) whole(t *testing.T, nodes ...*node) {
	t.Helper()
	for _, n := range nodes {
		l.accepted.Range(func(id, offset any) bool {
			eventually(t, "all is handed out", func() bool { return !n.log.Handed().Before(offset.(recovery.Offset)) })
			return true
		})
	}
	first := nodes[0].delivered()
	for _, n := range nodes {
		got := n.delivered()
		checkOrder(t, got)
		seen := make(map[string]recovery.Offset)
		for i := range got {
			seen[got[i].ID] = got[i].Offset
		}
		l.accepted.Range(func(id, offset any) bool {
			if seen[id.(string)] != offset.(recovery.Offset) {
				t.Errorf("%v was accepted at %v and handed out at %v", id, offset, seen[id.(string)])
			}
			return true
		})
		if !slices.Equal(offsets(got), offsets(first)) {
			t.Errorf("nodes handed out %d and %d entries, not the same", len(first), len(got))
		}
		if n.gapCount() > 0 {
			t.Errorf("gaps without a cause: %v", n.gaps)
		}
	}
}

func TestConnectionsAreCut(t *testing.T) {
	server := redistest.Start(t)
	a, b := newNode(t, server.Client(), Options{}), newNode(t, server.Client(), Options{})
	l := startLoad(a, b)
	admin := server.Client()
	for range 20 {
		l.more(t, 100)
		if err := admin.Do(t.Context(), "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes").Err(); err != nil {
			t.Fatal(err)
		}
	}
	l.more(t, 100)
	l.stop()
	l.whole(t, a, b)
}

// Redis answers nobody for a while: longer than calls may take, so that the
// nodes do not know what became of them.
func TestRedisSleeps(t *testing.T) {
	server := redistest.Start(t)
	opts := Options{CallTimeout: 700 * time.Millisecond}
	a, b := newNode(t, server.Client(), opts), newNode(t, server.Client(), opts)
	l := startLoad(a, b)
	l.more(t, 100)
	patient := redis.NewClient(&redis.Options{Addr: server.Addr, ReadTimeout: patience, MaxRetries: -1})
	defer patient.Close()
	if err := patient.Do(t.Context(), "DEBUG", "SLEEP", "1.5").Err(); err != nil {
		t.Fatal(err)
	}
	l.more(t, 100)
	server.Pause()
	eventually(t, "the outage is seen", func() bool { return a.stream.Err() != nil && b.stream.Err() != nil })
	server.Resume()
	l.more(t, 100)
	l.stop()
	l.whole(t, a, b)
	eventually(t, "reading works again", func() bool { return a.stream.Err() == nil })
}

// Redis is killed, and had everything on its disk.
func TestRedisIsKilled(t *testing.T) {
	server := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	a, b := newNode(t, server.Client(), Options{}), newNode(t, server.Client(), Options{})
	l := startLoad(a, b)
	for range 3 {
		l.more(t, 200)
		server.Kill()
		server.Run()
	}
	l.more(t, 200)
	l.stop()
	l.whole(t, a, b)
}

// Redis forgets all of the history: the nodes notice, and go on behind a hole.
// What is in an archive is not lost.
func testForgetful(t *testing.T, args []string, forget func(server *redistest.Server)) {
	server := redistest.Start(t, args...)
	archive := newArchive()
	opts := Options{Archive: archive}
	a, b := newNode(t, server.Client(), opts), newNode(t, server.Client(), opts)
	start := a.log.Handed()
	l := startLoad(a, b)
	l.more(t, 200)
	forget(server)
	for _, n := range []*node{a, b} {
		eventually(t, "the hole is noticed", func() bool { return n.gapCount() > 0 })
	}
	l.more(t, 200)
	l.stop()
	end := a.publish(entry("end", "r"))
	for _, n := range []*node{a, b} {
		eventually(t, "all is handed out", func() bool { return !n.log.Handed().Before(end) })
		n.mu.Lock()
		checkOrderAround(t, n.got, n.at)
		for i, gap := range n.gaps {
			if !gap.From.Before(gap.To) || n.at[i] > 0 && n.got[n.at[i]-1].Offset.After(gap.From) ||
				n.at[i] < len(n.got) && !n.got[n.at[i]].Offset.After(gap.To) {
				t.Errorf("gap %v..%v is not where the hole is", gap.From, gap.To)
			}
		}
		n.mu.Unlock()
	}
	// A client that saw nothing gets all that was accepted, once.
	got, err := readAll(a.log, recovery.Query{After: start, Rooms: []string{"r"}})
	if err != nil {
		t.Fatal(err)
	}
	checkOrder(t, got)
	seen := ids(got)
	slices.Sort(seen)
	l.accepted.Range(func(id, offset any) bool {
		if _, ok := slices.BinarySearch(seen, id.(string)); !ok {
			t.Errorf("%v was accepted at %v and is lost", id, offset)
		}
		return true
	})
	// Without the archive it is told.
	bare, err := Open(t.Context(), server.Client(), Options{Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	defer closeStream(bare)
	if _, err := bare.scan(t.Context(), "/", recovery.Query{After: start, Rooms: []string{"r"}}); !errors.Is(err, recovery.ErrGap) {
		t.Errorf("read across the hole: %v", err)
	}
}

// checkOrderAround is checkOrder for entries with holes before some of them. What was lost before its publisher knew that it
// had been there is published again, so an entry may be on either side of a hole.
func checkOrderAround(t *testing.T, entries []recovery.Entry, holes []int) {
	t.Helper()
	from := 0
	for _, to := range append(slices.Clone(holes), len(entries)) {
		checkOrder(t, entries[from:to])
		if from > 0 && from < to && !entries[from].Offset.After(entries[from-1].Offset) {
			t.Fatalf("%v was handed out after %v", entries[from].Offset, entries[from-1].Offset)
		}
		from = to
	}
}

func TestFlush(t *testing.T) {
	testForgetful(t, nil, func(server *redistest.Server) {
		if err := server.Client().FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestRedisIsReplacedByAnEmptyOne(t *testing.T) {
	testForgetful(t, nil, func(server *redistest.Server) {
		server.Kill()
		server.Run()
	})
}

// Redis comes back with what it had a while ago, and the same start.
func TestRedisLosesTheEnd(t *testing.T) {
	testForgetful(t, []string{"--dbfilename", "old.rdb"}, func(server *redistest.Server) {
		rdb := server.Client()
		if err := rdb.Save(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		n := rdb.XLen(t.Context(), "socket.io").Val()
		eventually(t, "more is appended", func() bool { return rdb.XLen(t.Context(), "socket.io").Val() > n+100 })
		server.Kill()
		server.Run()
	})
}

// An idle cluster notices too.
func TestFlushWhileIdle(t *testing.T) {
	server := redistest.Start(t)
	a := newNode(t, server.Client(), Options{})
	old := a.publish(entry("1", "r"))
	if err := server.Client().FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the hole is noticed", func() bool { return a.gapCount() == 1 })
	if _, err := readAll(a.log, recovery.Query{After: old, Rooms: []string{"r"}}); !errors.Is(err, recovery.ErrGap) {
		t.Errorf("read across the hole: %v", err)
	}
	if next := a.publish(entry("2", "r")); !next.After(old) {
		t.Errorf("%v came after %v", next, old)
	}
	if n := a.gapCount(); n != 1 {
		t.Errorf("%d gaps", n)
	}
}

// What this node appended got lost before anyone had read it.
func TestLossBeforeTheRead(t *testing.T) {
	server := redistest.Start(t, "--dbfilename", "old.rdb")
	rdb := server.Client()
	stream, err := Open(t.Context(), rdb, Options{Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	defer closeStream(stream)
	entered, leave, gaps := make(chan struct{}), make(chan struct{}), make(chan *recovery.GapError, 10)
	var once sync.Once
	log, err := stream.NewSequencer(t.Context(), SequencerOptions{Namespace: "/",
		Deliver: func([]recovery.Entry) { once.Do(func() { close(entered); <-leave }) },
		Gap:     func(gap *recovery.GapError) { gaps <- gap }})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := log.Append(entry("1", "r")); err != nil {
		t.Fatal(err)
	}
	<-entered // with what was read, and nothing else is
	if err := rdb.Save(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	if _, err := log.Append(entry("2", "r")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is appended", func() bool { return rdb.XLen(t.Context(), "socket.io").Val() == 3 })
	lost := must[[]redis.XMessage](t)(rdb.XRevRangeN(t.Context(), "socket.io", "+", "-", 1).Result())[0].ID
	eventually(t, "the node knows", func() bool { return stream.newest().String() == lost })
	server.Kill()
	server.Run()
	close(leave)
	select {
	case gap := <-gaps:
		if gap.To.String() == lost || !gap.To.After(gap.From) {
			t.Errorf("gap %v..%v", gap.From, gap.To)
		}
	case <-time.After(patience):
		t.Error("the loss is not noticed")
	}
}

// Redis does what it is asked, and the answer gets lost: again and again, so that
// each batch is sent more than once. The entries have no keys.
func TestAnswersAreLost(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	proxy := redistest.StartProxy(t, server.Addr)
	a, b := newNode(t, dial(t, proxy.Addr), Options{}), newNode(t, server.Client(), Options{})
	const batches, each = 20, 10
	for i := range batches {
		proxy.Lose(3, isAppend)
		for n := range each {
			e := entry("", "r")
			e.Data = fmt.Appendf(nil, `["e",%d]`, i*each+n)
			if _, err := a.log.Append(e); err != nil {
				t.Fatal(err)
			}
		}
		eventually(t, "answers are lost", proxy.Lost)
	}
	end := a.publish(entry("end", "r"))
	for _, n := range []*node{a, b} {
		eventually(t, "all is handed out", func() bool { return !n.log.Handed().Before(end) })
		got := n.delivered()
		if len(got) != batches*each+1 {
			t.Errorf("%d entries, want %d", len(got), batches*each+1)
			continue
		}
		for i := range batches * each {
			if string(got[i].Data) != fmt.Sprintf(`["e",%d]`, i) {
				t.Fatalf("entry %d is %s", i, got[i].Data)
			}
		}
	}
	if a.gapCount()+b.gapCount() > 0 {
		t.Error("gaps without a cause")
	}
}

// isAppend says whether an answer is that of appendScript.
func isAppend(answer []byte) bool {
	_, rest, _ := bytes.Cut(answer, []byte("\r\n"))
	return answer[0] == '*' && bytes.HasPrefix(rest, []byte("$2\r\nok\r\n"))
}

func closeStream(s *Stream) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_ = s.Close(ctx)
}

func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// Others trim the stream past a node that lags.
func TestTrimmedPastTheReader(t *testing.T) {
	server := redistest.Start(t)
	rdb := server.Client()
	a, b := newNode(t, server.Client(), Options{}), newNode(t, server.Client(), Options{})
	a.publish(entry("first", "r"))
	eventually(t, "it is handed out", func() bool { return len(b.delivered()) == 1 })
	b.stream.dispatch.Lock()
	var all []recovery.Offset
	for i := range 3000 {
		if i%1000 == 0 {
			all = append(all, a.publish(entry(fmt.Sprint(i), "r")))
		} else if _, err := a.log.Append(entry(fmt.Sprint(i), "r")); err != nil {
			t.Fatal(err)
		}
	}
	last := a.publish(entry("last", "r"))
	// As a server of Node does: nothing is written down.
	if err := rdb.XTrimMaxLen(t.Context(), "socket.io", 10).Err(); err != nil {
		t.Fatal(err)
	}
	b.stream.dispatch.Unlock()
	eventually(t, "b goes on", func() bool { return b.log.Handed() == last })
	if b.gapCount() != 1 || a.gapCount() != 0 {
		t.Errorf("%d gaps where some are missing, %d where none are", b.gapCount(), a.gapCount())
	}
	checkOrder(t, b.delivered())
	if n := len(b.delivered()); n < 11 || n > 1+2*readCount+10 {
		t.Errorf("%d entries", n)
	}
	if _, err := b.stream.scan(t.Context(), "/", recovery.Query{After: all[1]}); !errors.Is(err, recovery.ErrGap) {
		t.Errorf("read of what was trimmed: %v", err)
	}
}

const childEnv = "TWINE_TEST_REDIS"

// TestChild is the node that TestNodeIsKilled kills.
func TestChild(t *testing.T) {
	addr := os.Getenv(childEnv)
	if addr == "" {
		return
	}
	n := newNode(t, redis.NewClient(&redis.Options{Addr: addr}), Options{})
	var mu sync.Mutex
	for p := range 4 {
		go func() {
			for i := 0; ; i++ {
				id := fmt.Sprintf("%s-%d-%d", n.stream.UID(), p, i)
				mu.Lock()
				fmt.Println("try", id)
				mu.Unlock()
				if _, _, err := n.log.Publish(context.Background(), entry(id, "r")); err == nil {
					mu.Lock()
					fmt.Println("ok", id)
					mu.Unlock()
				}
			}
		}()
	}
	select {}
}

// A node is killed while it publishes. What it accepted is everywhere; what it
// did not say about is published again, elsewhere, and is delivered once.
func TestNodeIsKilled(t *testing.T) {
	server := redistest.Start(t)
	a, b := newNode(t, server.Client(), Options{}), newNode(t, server.Client(), Options{})
	l := new(load)
	for range 3 {
		child := exec.Command(os.Args[0], "-test.run", "^TestChild$")
		child.Env = append(os.Environ(), childEnv+"="+server.Addr)
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		unknown := make(map[string]bool)
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			if verb, id, ok := strings.Cut(lines.Text(), " "); ok {
				if verb == "try" {
					unknown[id] = true
				} else {
					delete(unknown, id)
					l.accepted.Store(id, recovery.Offset{})
				}
			}
			if n == 500 {
				_ = child.Process.Kill()
			}
		}
		_ = child.Wait()
		for id := range unknown {
			l.accepted.Store(id, b.publish(entry(id, "r")))
		}
	}
	end := b.publish(entry("end", "r"))
	for _, n := range []*node{a, b} {
		eventually(t, "all is handed out", func() bool { return !n.log.Handed().Before(end) })
		got := n.delivered()
		checkOrder(t, got)
		seen := ids(got)
		slices.Sort(seen)
		l.accepted.Range(func(id, _ any) bool {
			if _, ok := slices.BinarySearch(seen, id.(string)); !ok {
				t.Errorf("%v was accepted and not handed out", id)
			}
			return true
		})
	}
}
