package disk_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/recovery/disk"
	"github.com/twine-realtime/twine/recovery/memory"
)

// A test that needs a process to kill, or to put under a limit, runs its own
// binary again with this variable set to what it is to do.
const childVariable = "TWINE_DISK_TEST_CHILD"

var children = map[string]func(path string){"publish": publishUntilKilled}

func child() bool {
	name, path, ok := strings.Cut(os.Getenv(childVariable), ":")
	if ok {
		children[name](path)
	}
	return ok
}

func childCommand(name, path string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"="+name+":"+path)
	return cmd
}

func startChild(t *testing.T, name, path string) (*exec.Cmd, io.Reader) {
	t.Helper()
	cmd := childCommand(name, path)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	return cmd, out
}

var quiet = slog.New(slog.DiscardHandler)

// small makes a file see many segments, and expiry, in little time.
var small = disk.Options{SegmentBytes: 20_000, Logger: quiet}

// publishUntilKilled publishes, and stores sessions, and writes a line for each
// that was accepted.
func publishUntilKilled(path string) {
	ctx := context.Background()
	fail := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, "child:", err)
			os.Exit(1)
		}
	}
	store, err := disk.Open(path, small)
	fail(err)
	seq, err := recovery.NewSequencer(ctx, recovery.SequencerOptions{
		Namespace: "/", Durable: store.Log(), Hot: memory.NewLog(memory.LogOptions{}), Deliver: func([]recovery.Entry) {},
	})
	fail(err)
	var mu sync.Mutex
	say := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Printf(format+"\n", args...)
	}
	session := recovery.State{PID: fmt.Sprint("pid", os.Getpid()), Namespace: "/"}
	fail(store.Sessions().Create(ctx, session, "t"))
	for p := range 8 {
		go func() {
			for i := 0; ; i++ {
				id := fmt.Sprintf("%d-%d-%d", os.Getpid(), p, i)
				o, dup, err := seq.Publish(ctx, recovery.Entry{
					Rooms: []string{fmt.Sprint("room", p%3)}, ID: id,
					Data: fmt.Appendf(nil, "[%q,%q]", id, strings.Repeat("x", rand.IntN(700))),
				})
				fail(err)
				if dup {
					fail(fmt.Errorf("%s is a duplicate", id))
				}
				say("entry %s %v", id, o)
			}
		}()
	}
	for i := uint64(1); ; i++ {
		session.Position = recovery.Offset{MS: i}
		fail(store.Sessions().Store(ctx, session, "t"))
		say("session %s %d", session.PID, i)
	}
}

// Whatever instant a process is killed at, what it said it had accepted is there
// afterwards, once and in order, and so is what earlier ones accepted.
func TestKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "history.db")
	kills := 10
	if testing.Short() {
		kills = 3
	}
	store := openStore(t, path, small)
	start, err := store.Log().Start(context.Background(), "/")
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	accepted := make(map[string]string)
	sessions := make(map[string]uint64)
	for range kills {
		cmd, out := startChild(t, "publish", path)
		lines, until := 0, rand.IntN(3000)
		after := time.AfterFunc(5*time.Minute, func() { _ = cmd.Process.Kill() })
		scanner := bufio.NewScanner(out)
		for scanner.Scan() {
			// The last line may have been cut off.
			var id, offset string
			var position uint64
			if n, _ := fmt.Sscanf(scanner.Text(), "entry %s %s", &id, &offset); n == 2 {
				accepted[id] = offset
			} else if n, _ := fmt.Sscanf(scanner.Text(), "session %s %d", &id, &position); n == 2 {
				sessions[id] = position
			}
			if lines++; lines == until+1 {
				_ = cmd.Process.Kill()
			}
		}
		after.Stop()
		if err := cmd.Wait(); err == nil || lines <= until {
			t.Fatalf("the child ended by itself after %d lines: %v", lines, err)
		}
		checkAccepted(t, path, start, accepted, sessions)
	}
	t.Logf("%d entries accepted in %d lives", len(accepted), kills)
}

func checkAccepted(t *testing.T, path string, start recovery.Offset, accepted map[string]string, sessions map[string]uint64) {
	t.Helper()
	ctx := context.Background()
	store := openStore(t, path, small)
	defer store.Close()
	if err := store.Check(ctx); err != nil {
		t.Fatal(err)
	}
	stored := make(map[string]string)
	q := recovery.Query{After: start, Rooms: []string{"room0", "room1", "room2"}}
	for more := true; more; {
		page, err := store.Log().Read(ctx, "/", q)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Entries {
			if !e.Offset.After(q.After) || stored[e.ID] != "" {
				t.Fatalf("%s is there twice, or out of order", e.ID)
			}
			q.After, stored[e.ID] = e.Offset, e.Offset.String()
		}
		q.After, more = page.Next, page.More
	}
	var ids []string
	for id, offset := range accepted {
		if stored[id] != offset {
			t.Fatalf("%s was accepted at %s and is stored at %q", id, offset, stored[id])
		}
		ids = append(ids, id)
	}
	found, err := store.Log().Lookup(ctx, "/", ids)
	if err != nil || len(found) != len(ids) {
		t.Fatalf("%d of %d ids are known: %v", len(found), len(ids), err)
	}
	for pid, position := range sessions {
		st, _, err := store.Sessions().Claim(ctx, pid, fmt.Sprint("check", rand.Int()))
		if err != nil || st.Position.MS < position {
			t.Fatalf("session %s was stored at %d and is at %v: %v", pid, position, st.Position, err)
		}
	}
}
