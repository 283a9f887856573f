// Package recoverytest holds the tests that every recovery.Log and every
// recovery.Sessions has to pass. They say in executable form what the comments
// of those interfaces say.
package recoverytest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/twine-realtime/twine/recovery"
)

// LogUnderTest is a log over storage of its own, empty at first.
type LogUnderTest struct {
	Log recovery.Log
	// Reopen closes the log and opens it again over the same storage. Nil: the
	// log does not outlive its process.
	Reopen func() recovery.Log
}

// Log runs the suite. open is called for each test; the test closes the log.
func Log(t *testing.T, open func(t testing.TB) LogUnderTest) {
	t.Run("Histories", func(t *testing.T) { logHistories(t, open) })
	t.Run("BeginsNow", func(t *testing.T) { logBeginsNow(t, open) })
	t.Run("KeepsEveryField", func(t *testing.T) { logFields(t, open) })
	t.Run("OddNames", func(t *testing.T) { logOddNames(t, open) })
	t.Run("PageBounds", func(t *testing.T) { logPageBounds(t, open) })
	t.Run("Concurrency", func(t *testing.T) { logConcurrency(t, open) })
	t.Run("CancelledAppend", func(t *testing.T) { logCancelled(t, open) })
	t.Run("Closed", func(t *testing.T) { logClosed(t, open) })
}

var ctx = context.Background()

func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func offsets(entries []recovery.Entry) []recovery.Offset {
	list := make([]recovery.Offset, len(entries))
	for i := range entries {
		list[i] = entries[i].Offset
	}
	return list
}

// readAll reads a query page by page.
func readAll(log recovery.Reader, ns string, q recovery.Query) (entries []recovery.Entry, next recovery.Offset, err error) {
	through, limit, maxBytes := q.Bounds()
	for {
		page, err := log.Read(ctx, ns, q)
		if err != nil {
			return entries, q.After, err
		}
		size := 0
		for i := range page.Entries {
			size += page.Entries[i].Size()
			if o := page.Entries[i].Offset; !o.After(q.After) || o.After(page.Next) || o.After(through) {
				return nil, q.After, fmt.Errorf("page (%v, %v] through %v has %v", q.After, page.Next, through, o)
			}
		}
		switch n := len(page.Entries); {
		case n > limit:
			return nil, q.After, fmt.Errorf("page of %d entries, limit %d", n, limit)
		case n > 1 && size > maxBytes:
			return nil, q.After, fmt.Errorf("page of %d bytes, limit %d", size, maxBytes)
		case page.Next.Before(q.After) || page.More && page.Next == q.After:
			return nil, q.After, fmt.Errorf("no progress: after %v, next %v, more %v", q.After, page.Next, page.More)
		}
		entries = append(entries, page.Entries...)
		q.After = page.Next
		if !page.More {
			return entries, q.After, nil
		}
	}
}

// modelSpace is a namespace as it should be.
type modelSpace struct {
	entries     []recovery.Entry // all that were ever appended
	start, last recovery.Offset
	begun       bool
}

func (m *modelSpace) query(q recovery.Query) (entries []recovery.Entry) {
	through, _, _ := q.Bounds()
	for _, e := range m.entries {
		forAny := len(e.Rooms) == 0
		for _, r := range e.Rooms {
			forAny = forAny || slices.Contains(q.Rooms, r)
		}
		if forAny && e.Offset.After(q.After) && !e.Offset.After(through) {
			entries = append(entries, e)
		}
	}
	return entries
}

// logHistories compares a log with a model over random histories.
func logHistories(t *testing.T, open func(t testing.TB) LogUnderTest) {
	rooms := []string{"a", "b", "c", "ab", ""}
	rapid.Check(t, func(rt *rapid.T) {
		u := open(t)
		log := u.Log
		defer func() { _ = log.Close() }()
		model := make(map[string]*modelSpace)
		for _, ns := range []string{"/", "/x"} {
			model[ns] = &modelSpace{
				start: must[recovery.Offset](t)(log.Start(ctx, ns)),
				last:  must[recovery.Offset](t)(log.Last(ctx, ns)),
			}
		}
		ids := 0
		var trimmed recovery.Offset
		pick := func() (string, *modelSpace) {
			ns := rapid.SampledFrom([]string{"/", "/x"}).Draw(rt, "ns")
			return ns, model[ns]
		}
		somewhere := func(m *modelSpace, label string) recovery.Offset {
			i := rapid.IntRange(0, len(m.entries)).Draw(rt, label)
			o := m.start
			if i > 0 {
				o = m.entries[i-1].Offset
			}
			if rapid.Bool().Draw(rt, label+" next") {
				o = o.Next()
			}
			return o
		}
		actions := map[string]func(*rapid.T){
			"append": func(rt *rapid.T) {
				ns, m := pick()
				o := m.last
				var batch []recovery.Entry
				for range rapid.IntRange(1, 8).Draw(rt, "entries") {
					if rapid.Bool().Draw(rt, "new ms") {
						o = recovery.Offset{MS: o.MS + 1}
					} else {
						o = o.Next()
					}
					e := recovery.Entry{Offset: o, Data: fmt.Appendf(nil, `["e",%q]`, o)}
					e.Rooms = rapid.SliceOfN(rapid.SampledFrom(rooms), 0, 3).Draw(rt, "rooms")
					if rapid.Bool().Draw(rt, "id") {
						ids++
						e.ID = fmt.Sprint("id", ids)
					}
					batch = append(batch, e)
				}
				if err := log.Append(ctx, ns, batch); err != nil {
					rt.Fatal(err)
				}
				m.entries, m.last, m.begun = append(m.entries, batch...), o, true
			},
			"append out of order": func(rt *rapid.T) {
				ns, m := pick()
				good, bad := m.last.Next(), somewhere(m, "bad")
				batch := []recovery.Entry{{Offset: good, Data: []byte(`["x"]`)}, {Offset: bad, Data: []byte(`["x"]`)}}
				if bad.After(good) {
					batch[0], batch[1] = batch[1], batch[0]
				}
				if err := log.Append(ctx, ns, batch); !errors.Is(err, recovery.ErrOrder) {
					rt.Fatalf("appended %v after %v: %v", offsets(batch), m.last, err)
				}
			},
			"read": func(rt *rapid.T) {
				ns, m := pick()
				q := recovery.Query{
					After:    somewhere(m, "after"),
					Rooms:    rapid.SliceOfN(rapid.SampledFrom(rooms), 0, 4).Draw(rt, "rooms"),
					Limit:    rapid.IntRange(0, 5).Draw(rt, "limit"),
					MaxBytes: rapid.SampledFrom([]int{0, 1, 400}).Draw(rt, "bytes"),
				}
				if rapid.Bool().Draw(rt, "bounded") {
					q.Through = somewhere(m, "through")
				}
				got, next, err := readAll(log, ns, q)
				switch {
				case q.After.Before(m.start):
					var gap *recovery.GapError
					if !errors.Is(err, recovery.ErrGap) || !errors.As(err, &gap) || gap.From != q.After || gap.To != m.start {
						rt.Fatalf("read after %v, start %v: %v", q.After, m.start, err)
					}
					return
				case q.After.After(m.last):
					if !errors.Is(err, recovery.ErrFuture) {
						rt.Fatalf("read after %v, last %v: %v", q.After, m.last, err)
					}
					return
				case err != nil:
					rt.Fatal(err)
				}
				if want := m.query(q); !slices.Equal(offsets(got), offsets(want)) {
					rt.Fatalf("%+v in %v..%v: got %v, want %v", q, m.start, m.last, offsets(got), offsets(want))
				}
				through, _, _ := q.Bounds()
				if m.last.Before(through) {
					through = m.last
				}
				if q.After.Before(through) && next != through {
					rt.Fatalf("%+v: complete to %v, want %v", q, next, through)
				}
			},
			"trim": func(rt *rapid.T) {
				_, m := pick()
				before := somewhere(m, "before")
				if err := log.Trim(ctx, before); err != nil {
					rt.Fatal(err)
				}
				if before.After(trimmed) {
					trimmed = before
				}
				for ns, m := range model {
					start := must[recovery.Offset](t)(log.Start(ctx, ns))
					allowed := m.start
					for _, e := range m.entries {
						if e.Offset.Before(before) && e.Offset.After(allowed) {
							allowed = e.Offset
						}
					}
					if start.Before(m.start) || start.After(allowed) {
						rt.Fatalf("trim before %v moved the start of %s from %v to %v, allowed %v", before, ns, m.start, start, allowed)
					}
					m.start = start
				}
			},
			"look up": func(rt *rapid.T) {
				ns, m := pick()
				found := must[map[string]recovery.Offset](t)(log.Lookup(ctx, ns, []string{"id1", "id2", "id7", "none", "id1"}))
				for id, o := range found {
					if !slices.ContainsFunc(m.entries, func(e recovery.Entry) bool { return e.ID == id && e.Offset == o }) {
						rt.Fatalf("found %s at %v in %s", id, o, ns)
					}
				}
				for _, e := range m.entries {
					if _, ok := found[e.ID]; !ok && !e.Offset.Before(trimmed) && slices.Contains([]string{"id1", "id2", "id7"}, e.ID) {
						rt.Fatalf("did not find %s of %v in %s", e.ID, e.Offset, ns)
					}
				}
			},
			"": func(rt *rapid.T) {
				for ns, m := range model {
					start := must[recovery.Offset](t)(log.Start(ctx, ns))
					last := must[recovery.Offset](t)(log.Last(ctx, ns))
					if start != m.start || last != m.last || last.Before(start) {
						rt.Fatalf("%s is %v..%v, want %v..%v", ns, start, last, m.start, m.last)
					}
				}
			},
		}
		if u.Reopen != nil {
			actions["reopen"] = func(*rapid.T) { log = u.Reopen() }
		}
		if hot, ok := log.(recovery.HotLog); ok {
			actions["begin"] = func(rt *rapid.T) {
				ns, m := pick()
				at := somewhere(m, "at")
				if !m.begun && rapid.Bool().Draw(rt, "earlier") {
					at.MS -= 1000 // than the log was made
				}
				if err := hot.Begin(ctx, ns, at); err != nil {
					rt.Fatal(err)
				}
				if !m.begun || m.last.Before(at) {
					*m = modelSpace{start: at, last: at, begun: true}
				}
			}
		}
		rt.Repeat(actions)
	})
}

func logBeginsNow(t *testing.T, open func(t testing.TB) LogUnderTest) {
	log := open(t).Log
	defer log.Close()
	start := must[recovery.Offset](t)(log.Start(ctx, "/"))
	if start.IsZero() || must[recovery.Offset](t)(log.Last(ctx, "/")) != start {
		t.Fatalf("an empty log starts at %v", start)
	}
	for _, o := range []recovery.Offset{{}, {MS: start.MS - 1}} {
		if _, err := log.Read(ctx, "/", recovery.Query{After: o}); !errors.Is(err, recovery.ErrGap) {
			t.Errorf("read after %v, before the log began: %v", o, err)
		}
	}
	if _, err := log.Read(ctx, "/", recovery.Query{After: start.Next()}); !errors.Is(err, recovery.ErrFuture) {
		t.Errorf("read after the last: %v", err)
	}
	page := must[recovery.Page](t)(log.Read(ctx, "/", recovery.Query{After: start}))
	if len(page.Entries) != 0 || page.More || page.Next != start {
		t.Errorf("page of an empty log: %+v", page)
	}
}

func logFields(t *testing.T, open func(t testing.TB) LogUnderTest) {
	u := open(t)
	log := u.Log
	defer func() { _ = log.Close() }()
	start := must[recovery.Offset](t)(log.Start(ctx, "/"))
	e := recovery.Entry{
		Offset: start.Next(), Rooms: []string{"r1", "r2"}, Except: []string{"x"}, ID: "key",
		Data: []byte(`["e",{"_placeholder":true,"num":0}]`), Attachments: [][]byte{{0, 1, 255}, {}},
	}
	large := recovery.Entry{Offset: e.Offset.Next(), Rooms: []string{"r1"}, Data: bytes.Repeat([]byte("x"), 3<<20)}
	if err := log.Append(ctx, "/", []recovery.Entry{e, large}); err != nil {
		t.Fatal(err)
	}
	if u.Reopen != nil {
		log = u.Reopen()
	}
	got, _, err := readAll(log, "/", recovery.Query{After: start, Rooms: []string{"r2", "r1"}})
	if err != nil || len(got) != 2 {
		t.Fatalf("read %d entries: %v", len(got), err)
	}
	if fmt.Sprint(got[0]) != fmt.Sprint(e) {
		t.Errorf("got %v, want %v", got[0], e)
	}
	if !bytes.Equal(got[1].Data, large.Data) {
		t.Error("a large entry came back different")
	}
}

func logOddNames(t *testing.T, open func(t testing.TB) LogUnderTest) {
	log := open(t).Log
	defer log.Close()
	long := strings.Repeat("r", 100_000)
	names := []string{"", "\x00", "a", "a\x00", "a\x00b", "ä", "\xff\xff\xff\xff", long, long + "x", long[:200], long[:201], long[:255], long[:256]}
	for _, ns := range []string{"/", "/a", long} {
		o := must[recovery.Offset](t)(log.Last(ctx, ns))
		for i, room := range names {
			o = o.Next()
			err := log.Append(ctx, ns, []recovery.Entry{{Offset: o, Rooms: []string{room}, ID: ns + room, Data: fmt.Appendf(nil, "[%d]", i)}})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, ns := range []string{"/", "/a", long} {
		start := must[recovery.Offset](t)(log.Start(ctx, ns))
		for i, room := range names {
			got, _, err := readAll(log, ns, recovery.Query{After: start, Rooms: []string{room}})
			if err != nil || len(got) != 1 || string(got[0].Data) != fmt.Sprintf("[%d]", i) {
				t.Errorf("room %.10q of namespace %.10q: %d entries, %v", room, ns, len(got), err)
				continue
			}
			id := ns + room
			found := must[map[string]recovery.Offset](t)(log.Lookup(ctx, ns, []string{id}))
			if found[id] != got[0].Offset {
				t.Errorf("id %.10q: %v, want %v", id, found[id], got[0].Offset)
			}
		}
	}
}

func logPageBounds(t *testing.T, open func(t testing.TB) LogUnderTest) {
	log := open(t).Log
	defer log.Close()
	start := must[recovery.Offset](t)(log.Start(ctx, "/"))
	var batch []recovery.Entry
	for o, i := start, 0; i < 2500; i++ {
		o = o.Next()
		batch = append(batch, recovery.Entry{Offset: o, Data: bytes.Repeat([]byte("x"), 100)})
	}
	if err := log.Append(ctx, "/", batch); err != nil {
		t.Fatal(err)
	}
	page := must[recovery.Page](t)(log.Read(ctx, "/", recovery.Query{After: start}))
	if len(page.Entries) != recovery.DefaultPageEntries || !page.More {
		t.Errorf("the default page has %d entries, more: %v", len(page.Entries), page.More)
	}
	// A page that is exactly full and the last says so, or has an empty one after it.
	got, next, err := readAll(log, "/", recovery.Query{After: start, Limit: 500})
	if err != nil || len(got) != 2500 || next != batch[2499].Offset {
		t.Errorf("%d entries to %v: %v", len(got), next, err)
	}
}

func logConcurrency(t *testing.T, open func(t testing.TB) LogUnderTest) {
	log := open(t).Log
	defer log.Close()
	const each = 60
	var running sync.WaitGroup
	for n := range 4 {
		ns := fmt.Sprint("/", n)
		start := must[recovery.Offset](t)(log.Start(ctx, ns))
		stop := make(chan struct{})
		running.Go(func() {
			defer close(stop)
			for o, i := start, 0; i < each; i++ {
				o = o.Next()
				if err := log.Append(ctx, ns, []recovery.Entry{{Offset: o, Rooms: []string{"r"}, Data: []byte(`["x"]`)}}); err != nil {
					t.Error(err)
				}
			}
		})
		for range 2 {
			running.Go(func() {
				for done := false; !done; {
					select {
					case <-stop:
						done = true
					default:
					}
					got, next, err := readAll(log, ns, recovery.Query{After: start, Rooms: []string{"r"}, Limit: 7})
					if err != nil {
						t.Error(err)
						return
					}
					// What is there is a prefix: nothing is seen before what precedes it.
					if want := start.Seq + uint64(len(got)); next.Seq != want && next.MS == start.MS {
						t.Errorf("%d entries, complete to %v", len(got), next)
					}
					if done && len(got) != each {
						t.Errorf("%d entries in the end", len(got))
					}
				}
			})
		}
	}
	running.Wait()
}

func logCancelled(t *testing.T, open func(t testing.TB) LogUnderTest) {
	log := open(t).Log
	defer log.Close()
	start := must[recovery.Offset](t)(log.Start(ctx, "/"))
	gone, cancel := context.WithCancel(ctx)
	cancel()
	e := recovery.Entry{Offset: start.Next(), Data: []byte(`["x"]`)}
	err := log.Append(gone, "/", []recovery.Entry{e})
	last := must[recovery.Offset](t)(log.Last(ctx, "/"))
	if (err == nil) != (last == e.Offset) {
		t.Fatalf("append with an ended context: %v, and last is %v", err, last)
	}
	if again := must[recovery.Offset](t)(log.Last(ctx, "/")); again != last {
		t.Fatalf("last moved from %v to %v", last, again)
	}
}

func logClosed(t *testing.T, open func(t testing.TB) LogUnderTest) {
	log := open(t).Log
	start := must[recovery.Offset](t)(log.Start(ctx, "/"))
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	if err := log.Close(); err != nil {
		t.Errorf("closing twice: %v", err)
	}
	calls := map[string]func() error{
		"Append": func() error {
			return log.Append(ctx, "/", []recovery.Entry{{Offset: start.Next(), Data: []byte(`["x"]`)}})
		},
		"Read":   func() error { _, err := log.Read(ctx, "/", recovery.Query{After: start}); return err },
		"Start":  func() error { _, err := log.Start(ctx, "/"); return err },
		"Last":   func() error { _, err := log.Last(ctx, "/"); return err },
		"Lookup": func() error { _, err := log.Lookup(ctx, "/", []string{"x"}); return err },
		"Trim":   func() error { return log.Trim(ctx, start) },
	}
	for _, name := range slices.Sorted(maps.Keys(calls)) {
		if err := calls[name](); !errors.Is(err, recovery.ErrClosed) {
			t.Errorf("%s of a closed log: %v", name, err)
		}
	}
}
