//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"unsafe"
)

// TestFullDisk publishes until there is no room, and goes on when there is some again. Publishers are told each time, and
// what was accepted is there, delivered once, and in the history after a restart.
func TestFullDisk(t *testing.T) {
	t.Run("file size limit", func(t *testing.T) {
		d := launch(t, t.TempDir())
		publishToFullDisk(t, d,
			func() { limitFileSize(t, d, 3<<20) }, // of a file that is made larger than that, with room in it
			func() { limitFileSize(t, d, 1<<40) })
	})
	if os.Getuid() != 0 {
		return // a file system of one's own takes root
	}
	t.Run("small disk", func(t *testing.T) {
		dir := t.TempDir()
		if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=4m"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
				t.Error(err)
			}
		})
		ballast := filepath.Join(dir, "ballast")
		publishToFullDisk(t, launch(t, dir),
			func() {
				if err := os.WriteFile(ballast, make([]byte, 1<<20), 0o600); err != nil {
					t.Fatal(err)
				}
			},
			func() {
				if err := os.Remove(ballast); err != nil {
					t.Fatal(err)
				}
				if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size=60m"); err != nil {
					t.Fatal(err)
				}
			})
	})
}

// publishToFullDisk ends the daemon, too. fill leaves room for a few MB at the most.
func publishToFullDisk(t *testing.T, d *daemon, fill, empty func()) {
	t.Helper()
	start := history(t, d, "r", "").Next
	listener := dialRaw(t, d, "")
	listener.subscribe("r")
	text := strings.Repeat("x", 200_000)
	var accepted []int
	publish := func(n int) int {
		t.Helper()
		response, answer, err := d.tryPublish("r", fmt.Sprint("key", n), map[string]any{"n": n, "text": text})
		switch {
		case err != nil:
			t.Fatal(err)
		case response.StatusCode == http.StatusCreated:
			accepted = append(accepted, n)
		case response.StatusCode != http.StatusServiceUnavailable || response.Header.Get("Retry-After") == "" || answer == "":
			t.Fatalf("publish: %s %q %v", response.Status, answer, response.Header)
		}
		return response.StatusCode
	}
	publish(0)
	fill()
	n := 1
	for publish(n) == http.StatusCreated {
		if n++; n > 50 {
			t.Fatal("the disk is never full")
		}
	}
	response, answer := d.do(t, "POST", "/v1/publish", http.Header{"Authorization": {d.key}, "Idempotency-Key": {"v1"}}, strings.NewReader(`{"room":"r","data":"`+text+`"}`))
	if response.StatusCode != 503 || response.Header.Get("Retry-After") == "" || !strings.Contains(answer, `"status":503`) {
		t.Errorf("/v1/publish: %s %s", response.Status, answer)
	}
	// The daemon lives, and clients can come.
	if response, _ := d.do(t, "GET", "/readyz", nil, nil); response.StatusCode != 200 {
		t.Errorf("readyz: %s", response.Status)
	}
	late := dialRaw(t, d, "")
	late.subscribe("r")
	before := len(accepted)
	if publish(n) == http.StatusCreated {
		n++ // for what a refused one has given back can be enough for another
	}

	empty()
	for i := range 10 {
		if publish(n+i) != http.StatusCreated {
			t.Fatalf("message %d is not accepted though there is room", n+i)
		}
	}
	publish(n) // again
	accepted = accepted[:len(accepted)-1]
	for who, r := range map[string]*raw{"listener": listener, "late one": late} {
		want := accepted
		if r == late {
			want = accepted[before:]
		}
		if got := numbersOf(r.waitMessages(len(want))); !slices.Equal(got, want) {
			t.Errorf("the %s has %v, accepted were %v", who, got, want)
		}
	}
	d.kill()
	d = d.again()
	var stored []int
	for after, more := start, true; more; {
		page := history(t, d, "r", "?after="+after)
		for _, e := range page.Entries {
			stored = append(stored, e.n(t))
		}
		after, more = page.Next, page.More
	}
	if !slices.Equal(stored, accepted) {
		t.Errorf("stored are %v, accepted were %v", stored, accepted)
	}
	d.stop()
}

func numbersOf(messages []message) (numbers []int) {
	for _, m := range messages {
		numbers = append(numbers, m.N)
	}
	return numbers
}

// limitFileSize lets no file of a running daemon grow past a size.
func limitFileSize(t *testing.T, d *daemon, bytes uint64) {
	t.Helper()
	limit := syscall.Rlimit{Cur: bytes, Max: 1 << 41}
	_, _, errno := syscall.RawSyscall6(syscall.SYS_PRLIMIT64, uintptr(d.process.Process.Pid), syscall.RLIMIT_FSIZE,
		uintptr(unsafe.Pointer(&limit)), 0, 0, 0)
	if errno != 0 {
		t.Fatal(errno)
	}
}
