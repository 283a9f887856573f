//go:build linux

package disk_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/recovery/disk"
)

func init() {
	children["full-limit"] = func(path string) {
		var limit syscall.Rlimit
		if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
			giveUp("getrlimit", err)
		}
		full := limit
		full.Cur = 20 << 20
		publishToFullDisk(path,
			func() error { return syscall.Setrlimit(syscall.RLIMIT_FSIZE, &full) },
			func() error { return syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit) })
	}
	children["full-disk"] = func(path string) {
		publishToFullDisk(path,
			func() error { return syscall.Mount("tmpfs", filepath.Dir(path), "tmpfs", 0, "size=3m") },
			func() error {
				return syscall.Mount("tmpfs", filepath.Dir(path), "tmpfs", syscall.MS_REMOUNT, "size=30m")
			})
	}
}

func giveUp(what string, err error) {
	if err != nil {
		fmt.Println("failed:", what, err)
		os.Exit(1)
	}
}

// publishToFullDisk publishes until there is no room, then makes room and goes
// on, and checks that all that was accepted is there, and nothing else.
func publishToFullDisk(path string, fill, empty func() error) {
	giveUp("limit", fill())
	opts := disk.Options{SegmentBytes: 100_000, Logger: quiet}
	store, err := disk.Open(path, opts)
	giveUp("open", err)
	start, err := store.Log().Start(ctx, "/")
	giveUp("start", err)
	seq, err := recovery.NewSequencer(ctx, recovery.SequencerOptions{Namespace: "/", Durable: store.Log(), Deliver: func([]recovery.Entry) {}})
	giveUp("sequencer", err)
	var accepted []string
	publish := func(i int) error {
		id := fmt.Sprint("id", i)
		_, dup, err := seq.Publish(ctx, recovery.Entry{ID: id, Rooms: []string{"r"}, Data: []byte(strings.Repeat("x", 100_000))})
		if err == nil {
			accepted = append(accepted, id)
		}
		if dup {
			giveUp("publish", errors.New("a refused message is called a duplicate"))
		}
		return err
	}
	i := 0
	for ; err == nil && i < 1000; i++ {
		err = publish(i)
	}
	if !errors.Is(err, recovery.ErrFull) || !errors.Is(err, recovery.ErrNotDurable) || i < 3 {
		giveUp("publish to a full disk", fmt.Errorf("is %w after %d", err, i))
	}
	if err := publish(i); !errors.Is(err, recovery.ErrFull) {
		giveUp("publish again to a full disk", fmt.Errorf("is %w", err))
	}
	last, err := store.Log().Last(ctx, "/")
	giveUp("last", err)
	if last != seq.Handed() {
		giveUp("last", fmt.Errorf("%v is stored, %v handed out", last, seq.Handed()))
	}
	if err := store.Sessions().Create(ctx, recovery.State{PID: "p"}, "t"); err != nil && !errors.Is(err, recovery.ErrFull) {
		giveUp("session", err)
	}
	giveUp("make room", empty())
	for n := range 10 {
		giveUp("publish with room again", publish(i-1+n))
	}
	giveUp("check", store.Check(ctx))
	giveUp("close", errors.Join(seq.Close(ctx), store.Close()))
	store, err = disk.Open(path, opts)
	giveUp("open again", err)
	entries, err := read(store.Log(), recovery.Query{After: start, Rooms: []string{"r"}})
	giveUp("read", err)
	var ids []string
	for _, e := range entries {
		ids = append(ids, e.ID)
	}
	if fmt.Sprint(ids) != fmt.Sprint(accepted) {
		giveUp("read", fmt.Errorf("stored %v, accepted %v", ids, accepted))
	}
	giveUp("close", store.Close())
	fmt.Println("done", len(accepted))
}

// A full disk refuses messages, loses none, and takes more when there is room.
func TestFullDisk(t *testing.T) {
	kinds := []string{"full-limit"}
	if os.Getuid() == 0 {
		kinds = append(kinds, "full-disk") // in a mount namespace of its own
	}
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			cmd := childCommand(kind, filepath.Join(t.TempDir(), "history.db"))
			if kind == "full-disk" {
				cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
			}
			out, err := cmd.CombinedOutput()
			if err != nil || !strings.HasPrefix(string(out), "done") {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// asNobody runs f in a thread that has nobody's rights to files, which root is
// otherwise not kept from anything by.
func asNobody(t *testing.T, f func()) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if os.Getuid() == 0 {
		const nobody = 65534
		if err := syscall.Setfsuid(nobody); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = syscall.Setfsuid(0) }()
	}
	f()
}

func TestReadOnlyFolder(t *testing.T) {
	outer := t.TempDir()
	for dir := outer; dir != "/" && dir != os.TempDir(); dir = filepath.Dir(dir) {
		_ = os.Chmod(dir, 0o755)
	}
	dir := filepath.Join(outer, "data")
	path := filepath.Join(dir, "history.db")
	existing := filepath.Join(dir, "existing.db")
	sample(t, existing, 10)
	for _, p := range []string{existing, dir} {
		if err := os.Chmod(p, 0o555); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _ = os.Chmod(dir, 0o755) })
	asNobody(t, func() {
		for _, p := range []string{path, existing, filepath.Join(dir, "below", "history.db")} {
			store, err := disk.Open(p, small)
			if err == nil {
				_ = store.Close()
			}
			if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "history file") {
				t.Errorf("%s: %v", p, err)
			}
		}
	})
}
