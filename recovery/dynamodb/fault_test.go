//go:build dynamodb

package dynamodb_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/recovery/dynamodb"
)

// quick are options that make retries and timeouts short.
func quick(table string) dynamodb.Options {
	return dynamodb.Options{Table: table, CallTimeout: 2 * time.Second, Timeout: time.Minute, Backoff: 5 * time.Millisecond, Logger: quiet}
}

// publication is what a publisher of a test was told.
type publication struct {
	id     string
	offset recovery.Offset
}

// readAll reads a namespace from a position on.
func readAll(t testing.TB, log recovery.Reader, q recovery.Query) []recovery.Entry {
	t.Helper()
	var all []recovery.Entry
	for more := true; more; {
		page, err := log.Read(ctx, "/", q)
		if err != nil {
			t.Fatalf("read after %v: %v", q.After, err)
		}
		all = append(all, page.Entries...)
		q.After, more = page.Next, page.More
	}
	return all
}

var rooms = []string{"r0", "r1", "r2"}

// checkOnce says that what was accepted is there, at its offset, and that
// nothing that has an id is there twice.
func checkOnce(t testing.TB, log recovery.Reader, start recovery.Offset, accepted []publication) {
	t.Helper()
	stored := make(map[string]recovery.Offset)
	for _, e := range readAll(t, log, recovery.Query{After: start, Rooms: rooms}) {
		if !stored[e.ID].IsZero() {
			t.Errorf("%s is there twice", e.ID)
		}
		stored[e.ID] = e.Offset
	}
	for _, p := range accepted {
		if stored[p.id] != p.offset {
			t.Errorf("%s was accepted at %v and is at %v", p.id, p.offset, stored[p.id])
		}
	}
}

// publishAll publishes from several goroutines, each message again and again
// until it is accepted, and returns what was.
func publishAll(t testing.TB, seq *recovery.Sequencer, publishers, each int) []publication {
	t.Helper()
	var mu sync.Mutex
	var accepted []publication
	var running sync.WaitGroup
	for p := range publishers {
		running.Go(func() {
			for i := range each {
				id := fmt.Sprintf("%d-%d", p, i)
				e := recovery.Entry{Rooms: rooms[:1+i%3], ID: id, Data: fmt.Appendf(nil, `["e",%q]`, strings.Repeat("x", i%5*400))}
				o, err := recovery.Offset{}, errors.New("not tried")
				for deadline := time.Now().Add(time.Minute); err != nil; {
					if o, _, err = seq.Publish(ctx, e); err != nil && time.Now().After(deadline) {
						t.Errorf("%s: %v", id, err)
						return
					}
				}
				mu.Lock()
				accepted = append(accepted, publication{id, o})
				mu.Unlock()
			}
		})
	}
	running.Wait()
	return accepted
}

func sequencer(t testing.TB, log recovery.Log, deliver func([]recovery.Entry)) *recovery.Sequencer {
	t.Helper()
	seq, err := recovery.NewSequencer(ctx, recovery.SequencerOptions{
		Namespace: "/", Durable: log, Deliver: deliver, Logger: quiet,
		CommitTimeout: 10 * time.Second, RetryDelay: 10 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	return seq
}

// Under each kind of fault, what is accepted is stored once and delivered once,
// and nothing stands still.
func TestFaults(t *testing.T) {
	faults := map[string]func(*call) *answer{
		"throttled": func(c *call) *answer {
			switch rand.IntN(4) {
			case 0:
				return fail(http.StatusBadRequest, "ProvisionedThroughputExceededException")
			case 1:
				return fail(http.StatusBadRequest, "ThrottlingException")
			}
			return c.forward()
		},
		"failing": func(c *call) *answer {
			if rand.IntN(3) == 0 {
				return fail(http.StatusInternalServerError, "InternalServerError")
			}
			return c.forward()
		},
		"failing after the fact": func(c *call) *answer {
			a := c.forward()
			if rand.IntN(3) == 0 {
				return fail(http.StatusServiceUnavailable, "ServiceUnavailable")
			}
			return a
		},
		"cut": func(c *call) *answer {
			if rand.IntN(3) == 0 {
				return nil
			}
			return c.forward()
		},
		"cut after the fact": func(c *call) *answer {
			a := c.forward()
			if rand.IntN(3) == 0 {
				return nil
			}
			return a
		},
		"unprocessed": func(c *call) *answer {
			return c.partly(func(int) bool { return rand.IntN(3) > 0 })
		},
		"late": func(c *call) *answer {
			// The client has given up when the request takes effect.
			if rand.IntN(12) == 0 {
				<-time.After(400 * time.Millisecond)
			}
			return c.forward()
		},
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newProxy(t, server(t))
			api := client(p.address())
			opts := quick(newTable(t, api))
			if name == "late" {
				opts.CallTimeout = 300 * time.Millisecond
			}
			store := openStore(t, api, opts)
			log := store.Log()
			start, err := log.Start(ctx, "/")
			if err != nil {
				t.Fatal(err)
			}
			var mu sync.Mutex
			delivered := make(map[string]int)
			seq := sequencer(t, log, func(entries []recovery.Entry) {
				mu.Lock()
				defer mu.Unlock()
				for i := range entries {
					delivered[entries[i].ID]++
				}
			})
			p.set(fault)
			accepted := publishAll(t, seq, 8, 25)
			if err := seq.Close(ctx); err != nil {
				t.Error(err)
			}
			p.set(nil)
			for _, a := range accepted {
				if delivered[a.id] != 1 {
					t.Errorf("%s was delivered %d times", a.id, delivered[a.id])
				}
			}
			checkOnce(t, log, start, accepted)
			t.Logf("%d accepted, %+v", len(accepted), store.Stats())
		})
	}
}

// Sessions keep their owner whatever happens to the calls.
func TestSessionFaults(t *testing.T) {
	p := newProxy(t, server(t))
	api := client(p.address())
	sessions := openStore(t, api, quick(newTable(t, api))).Sessions()
	p.set(func(c *call) *answer {
		switch rand.IntN(6) {
		case 0:
			return nil
		case 1:
			c.forward()
			return nil
		case 2:
			c.forward()
			return fail(http.StatusInternalServerError, "InternalServerError")
		case 3:
			return fail(http.StatusBadRequest, "ThrottlingException")
		}
		return c.forward()
	})
	for i := range 6 {
		st := recovery.State{PID: fmt.Sprint("p", i), Namespace: "/", TwineID: "t"}
		owner := "t0"
		if err := sessions.Create(ctx, st, owner); err != nil {
			t.Fatal(err)
		}
		for j := range uint64(4) {
			token := fmt.Sprint("t", j+1)
			got, previous, err := sessions.Claim(ctx, st.PID, token)
			if err != nil || previous != owner || got.Position.MS != j {
				t.Fatalf("claim %d: %+v from %q, %v", j, got, previous, err)
			}
			st.Position.MS = j + 1
			if err := sessions.Store(ctx, st, owner); !errors.Is(err, recovery.ErrSuperseded) {
				t.Fatalf("the former owner stores: %v", err)
			}
			if err := sessions.Store(ctx, st, token); err != nil {
				t.Fatal(err)
			}
			if owner = token; j == 2 {
				if err := sessions.Release(ctx, st, token, time.Hour); err != nil {
					t.Fatal(err)
				}
				owner = ""
			}
		}
		if i%2 == 0 {
			if err := sessions.Delete(ctx, st.PID, owner); err != nil {
				t.Fatal(err)
			}
		}
	}
	if list, err := sessions.ByTwineID(ctx, "t"); err != nil || len(list) != 3 {
		t.Errorf("%d sessions: %v", len(list), err)
	}
}

// A call that hangs is given up, and an operation has an end.
func TestHangingCalls(t *testing.T) {
	p := newProxy(t, server(t))
	api := client(p.address())
	opts := quick(newTable(t, api))
	opts.CallTimeout, opts.Timeout = 50*time.Millisecond, 300*time.Millisecond
	store := openStore(t, api, opts)
	log := store.Log()
	var last recovery.Offset
	until(t, "the log can be reached", func() bool {
		var err error
		last, err = log.Last(ctx, "/")
		return err == nil
	})
	release := make(chan struct{})
	p.set(func(c *call) *answer { <-release; return nil })
	entry := []recovery.Entry{{Offset: last.Next(), Data: []byte(`["x"]`)}}
	began := time.Now()
	if err := log.Append(ctx, "/", entry); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("append: %v", err)
	}
	if _, err := log.Last(ctx, "/"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("last: %v", err)
	}
	if _, err := log.Read(ctx, "/", recovery.Query{After: last}); err == nil || errors.Is(err, recovery.ErrGap) {
		t.Errorf("a tier that is out of reach is an error and no gap: %v", err)
	}
	if _, _, err := store.Sessions().Claim(ctx, "p", "t"); err == nil || errors.Is(err, recovery.ErrUnknownSession) {
		t.Errorf("claim: %v", err)
	}
	if d := time.Since(began); d > 10*time.Second {
		t.Errorf("it took %v", d)
	}
	p.set(nil)
	close(release)
	until(t, "the log can be reached", func() bool {
		again, err := log.Last(ctx, "/")
		if err == nil && again != last {
			t.Fatalf("last is %v, was %v", again, last)
		}
		return err == nil
	})
	until(t, "the entry is appended", func() bool {
		err := log.Append(ctx, "/", entry)
		return err == nil || errors.Is(err, recovery.ErrOrder) // that is, an attempt before was done
	})
}

// What DynamoDB does not take fails at once, and only for the one that wants it.
func TestRefusedItem(t *testing.T) {
	p := newProxy(t, server(t))
	api := client(p.address())
	store := openStore(t, api, quick(newTable(t, api)))
	log := store.Log()
	for _, ns := range []string{"/bad", "/good"} {
		if _, err := log.Last(ctx, ns); err != nil {
			t.Fatal(err)
		}
	}
	p.set(func(c *call) *answer {
		if c.op == "BatchWriteItem" && strings.Contains(string(c.body), "a:/bad") {
			return fail(http.StatusBadRequest, "ValidationException")
		}
		return c.forward()
	})
	var running sync.WaitGroup
	for _, ns := range []string{"/bad", "/good", "/bad", "/good"} {
		running.Go(func() {
			for range 10 {
				last, err := log.Last(ctx, ns)
				if err != nil {
					t.Error(err)
				}
				err = log.Append(ctx, ns, []recovery.Entry{{Offset: last.Next(), Data: []byte(`["x"]`)}})
				if bad := ns == "/bad"; bad != (err != nil) && !errors.Is(err, recovery.ErrOrder) {
					t.Errorf("append to %s: %v", ns, err)
				}
			}
		})
	}
	running.Wait()
}

// Whatever a failed append has left in the table never becomes part of the log,
// although newer entries are committed after it, by this process or the next.
func TestLeftovers(t *testing.T) {
	p := newProxy(t, server(t))
	api := client(p.address())
	opts := quick(newTable(t, api))
	log := openStore(t, api, opts).Log()
	start, err := log.Start(ctx, "/")
	if err != nil {
		t.Fatal(err)
	}
	o := start
	var want []recovery.Offset
	write := func(fails bool) {
		t.Helper()
		if p.set(nil); fails {
			// The items are stored and the head is not moved.
			p.set(func(c *call) *answer {
				if c.op == "UpdateItem" {
					return fail(http.StatusBadRequest, "AccessDeniedException")
				}
				return c.forward()
			})
		}
		o.MS++
		large := strings.Repeat("x", 2000)
		batch := []recovery.Entry{
			{Offset: o, Rooms: rooms, ID: o.String(), Data: fmt.Appendf(nil, `[%q]`, large)},
			{Offset: o.Next(), Rooms: rooms, Data: fmt.Appendf(nil, `[%q]`, strings.Repeat(large, 300))},
		}
		err := log.Append(ctx, "/", batch)
		if p.set(nil); fails != (err != nil) {
			t.Fatalf("append: %v", err)
		}
		if last, err := log.Last(ctx, "/"); err != nil || fails == (last == batch[1].Offset) {
			t.Fatalf("last is %v: %v", last, err)
		}
		if !fails {
			want = append(want, batch[0].Offset, batch[1].Offset)
		}
		found, err := log.Lookup(ctx, "/", []string{o.String()})
		if err != nil || fails == (len(found) == 1) {
			t.Fatalf("looked up %v: %v", found, err)
		}
		got := readAll(t, log, recovery.Query{After: start, Rooms: rooms})
		if len(got) != len(want) {
			t.Fatalf("%d entries, want %d", len(got), len(want))
		}
		for i := range got {
			if got[i].Offset != want[i] {
				t.Fatalf("entry %d is %v, want %v", i, got[i].Offset, want[i])
			}
		}
	}
	for _, fails := range []bool{true, false, false, true, true, false, true} {
		write(fails)
	}
	log = openStore(t, api, opts).Log()
	o.MS-- // the same offset as one that failed
	for _, fails := range []bool{false, true, false} {
		write(fails)
	}
}

// A process that has been superseded cannot append any more.
func TestSecondWriter(t *testing.T) {
	api := client(server(t).address())
	opts := quick(newTable(t, api))
	first, second := openStore(t, api, opts).Log(), openStore(t, api, opts).Log()
	o, err := first.Last(ctx, "/")
	if err != nil {
		t.Fatal(err)
	}
	put := func(log recovery.Log) error {
		o = o.Next()
		return log.Append(ctx, "/", []recovery.Entry{{Offset: o, Data: []byte(`["x"]`)}})
	}
	if err := put(first); err != nil {
		t.Fatal(err)
	}
	if err := put(second); err != nil {
		t.Fatal(err)
	}
	if err := put(first); !errors.Is(err, recovery.ErrBroken) {
		t.Errorf("the first writer appends: %v", err)
	}
	if _, err := first.Last(ctx, "/"); !errors.Is(err, recovery.ErrBroken) {
		t.Errorf("the first writer is told where the log ends: %v", err)
	}
	if err := put(second); err != nil {
		t.Fatal(err)
	}
}
