package memory_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/recovery/memory"
	"github.com/twine-realtime/twine/recovery/recoverytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestLog(t *testing.T) {
	recoverytest.Log(t, func(testing.TB) recoverytest.LogUnderTest {
		return recoverytest.LogUnderTest{Log: memory.NewLog(memory.LogOptions{})}
	})
}

// IDs that have the same hash are told from each other.
func TestLogWithClashes(t *testing.T) {
	for name, hash := range map[string]func(string) uint64{
		"all the same": func(string) uint64 { return 7 },
		"some":         func(id string) uint64 { return uint64(len(id) % 2) },
	} {
		t.Run(name, func(t *testing.T) {
			recoverytest.Log(t, func(testing.TB) recoverytest.LogUnderTest {
				log := memory.NewLog(memory.LogOptions{})
				log.SetHash(hash)
				return recoverytest.LogUnderTest{Log: log}
			})
		})
	}
}

func TestSessions(t *testing.T) {
	recoverytest.Sessions(t, func(_ testing.TB, now func() time.Time) recoverytest.SessionsUnderTest {
		return recoverytest.SessionsUnderTest{
			Sessions: memory.NewSessions(memory.SessionsOptions{Hold: recoverytest.Hold, Now: now}),
		}
	})
}

var ctx = context.Background()

func fill(t *testing.T, log *memory.Log, ns string, n int, data []byte) (last recovery.Offset) {
	t.Helper()
	last, err := log.Last(ctx, ns)
	for range n {
		last = last.Next()
		err = errors.Join(err, log.Append(ctx, ns, []recovery.Entry{{Offset: last, Rooms: []string{"r", "s"}, ID: last.String(), Data: data}}))
	}
	if err != nil {
		t.Fatal(err)
	}
	return last
}

func TestBytesAreBounded(t *testing.T) {
	log := memory.NewLog(memory.LogOptions{MaxBytes: 100_000})
	quiet, _ := log.Start(ctx, "/quiet")
	last := fill(t, log, "/", 5000, make([]byte, 1000))
	start, _ := log.Start(ctx, "/")
	page, err := log.Read(ctx, "/", recovery.Query{After: start, Rooms: []string{"r"}})
	if err != nil || len(page.Entries) < 50 || len(page.Entries) > 100 || page.Next != last {
		t.Errorf("%d entries to %v: %v", len(page.Entries), page.Next, err)
	}
	if _, err := log.Read(ctx, "/quiet", recovery.Query{After: quiet}); err != nil {
		t.Errorf("a namespace that lost nothing: %v", err)
	}
	if found, _ := log.Lookup(ctx, "/", []string{last.String(), quiet.Next().String()}); len(found) != 1 {
		t.Errorf("found %v", found)
	}
	// An entry larger than the bound is passed on and not kept; that is a gap.
	big := fill(t, log, "/", 1, make([]byte, 200_000))
	if start, _ := log.Start(ctx, "/"); start != big {
		t.Errorf("start %v, want %v", start, big)
	}
}

// What is counted is what is held, whatever the sizes of entries, but for the last piece and an eighth.
func TestMemoryIsBounded(t *testing.T) {
	const bound = 4 << 20
	for _, sizes := range [][]int{{100}, {9_000}, {33_000}, {40_000}, {100, 33_000}, {60_000, 20_000}, {200_000, 10}} {
		log := memory.NewLog(memory.LogOptions{MaxBytes: bound})
		o, _ := log.Last(ctx, "/")
		first := o
		for i := range 50_000 {
			o = o.Next()
			data := bytes.Repeat([]byte{byte(i)}, sizes[i%len(sizes)])
			if err := log.Append(ctx, "/", []recovery.Entry{{Offset: o, Data: data}}); err != nil {
				t.Fatal(err)
			}
			if start, _ := log.Start(ctx, "/"); i > 1000 && start != first {
				break // it is full
			}
		}
		if held := log.Held(); held > bound*9/8+64<<10 {
			t.Errorf("sizes %v: %d bytes are held", sizes, held)
		}
		start, _ := log.Start(ctx, "/")
		page, err := log.Read(ctx, "/", recovery.Query{After: start, Limit: 100_000, MaxBytes: 2 * bound})
		if err != nil || page.Next != o || len(page.Entries) == 0 {
			t.Fatalf("sizes %v: %d entries, %v", sizes, len(page.Entries), err)
		}
		for i := range page.Entries {
			data, n := page.Entries[i].Data, int(o.Seq-first.Seq)-len(page.Entries)+i
			if !bytes.Equal(data, bytes.Repeat([]byte{byte(n)}, sizes[n%len(sizes)])) {
				t.Fatalf("sizes %v: entry %d has other data", sizes, n)
			}
		}
	}
}

// What was adopted stays when the memory that it came in is used again, whether the log keeps it or not.
func TestAdopt(t *testing.T) {
	log := memory.NewLog(memory.LogOptions{MaxBytes: 1000})
	start, _ := log.Last(ctx, "/")
	memoryOf := []byte(`["a"]["b"]` + strings.Repeat("x", 2000))
	entries := []recovery.Entry{
		{Offset: start.Next(), Data: memoryOf[:5], Rooms: []string{"r", "s"}, Except: []string{"t"}, ID: "i"},
		{Offset: start.Next().Next(), Data: memoryOf[10:]},
		{Offset: start.Next().Next().Next(), Data: memoryOf[5:10]},
	}
	if err := log.Adopt(ctx, "/", entries); err != nil {
		t.Fatal(err)
	}
	clear(memoryOf)
	if a, b := string(entries[0].Data), string(entries[2].Data); a != `["a"]` || b != `["b"]` || len(entries[1].Data) != 2000 || entries[1].Data[0] != 'x' {
		t.Errorf("%s, %s, %d bytes of %q", a, b, len(entries[1].Data), entries[1].Data[0])
	}
	page, err := log.Read(ctx, "/", recovery.Query{After: entries[1].Offset})
	if err != nil || len(page.Entries) != 1 || string(page.Entries[0].Data) != `["b"]` {
		t.Errorf("%v %v", page, err)
	}
	data := []byte(`["c"]`)
	late := []recovery.Entry{{Offset: start, Data: data}}
	if err := log.Adopt(ctx, "/", late); !errors.Is(err, recovery.ErrOrder) || &late[0].Data[0] != &data[0] {
		t.Errorf("%v", err)
	}
}

func TestEntriesAge(t *testing.T) {
	now := time.Now()
	log := memory.NewLog(memory.LogOptions{Window: time.Minute, Now: func() time.Time { return now }})
	old := fill(t, log, "/", 3, []byte(`["x"]`))
	now = now.Add(2 * time.Minute)
	o := recovery.OffsetAt(now)
	if err := log.Append(ctx, "/", []recovery.Entry{{Offset: o, Data: []byte(`["x"]`)}}); err != nil {
		t.Fatal(err)
	}
	if start, _ := log.Start(ctx, "/"); start != old {
		t.Errorf("start %v, want %v", start, old)
	}
}

func TestSessionsAreBounded(t *testing.T) {
	s := memory.NewSessions(memory.SessionsOptions{Max: 2})
	for i := range 3 {
		err := s.Create(ctx, recovery.State{PID: fmt.Sprint(i)}, "t")
		if (i < 2) != (err == nil) || i == 2 && !errors.Is(err, recovery.ErrFull) {
			t.Errorf("session %d: %v", i, err)
		}
	}
}
