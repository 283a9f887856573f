//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"go.etcd.io/bbolt"
)

// refuses runs twined, which has to end with a one-line error that holds all of the given texts.
func refuses(t *testing.T, process *exec.Cmd, want ...string) {
	t.Helper()
	var stderr bytes.Buffer
	process.Stderr = &stderr
	process.Run()
	text := stderr.String()
	if process.ProcessState.ExitCode() != 1 || strings.Count(text, "\n") != 1 || !strings.HasPrefix(text, "twined: ") || len(text) > 500 {
		t.Errorf("exit status %d, output %q, want one line", process.ProcessState.ExitCode(), text)
	}
	for _, want := range want {
		if !strings.Contains(text, want) {
			t.Errorf("output %q, want one with %q", text, want)
		}
	}
}

func onFolder(t *testing.T, dir string, args ...string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return exec.CommandContext(ctx, binary, append([]string{"--listen", "127.0.0.1:0", "--data-dir", dir}, args...)...)
}

// usedFolder returns a data folder with a history of count messages of a few KB, in room r, numbered from 1, and the
// offset from before the first. The daemon has ended.
func usedFolder(t *testing.T, count int) (dir, start string) {
	t.Helper()
	dir = t.TempDir()
	d := launch(t, dir)
	start = history(t, d, "r", "").Next
	for n := 1; n <= count; n++ {
		if err := d.publish("r", map[string]any{"n": n, "text": strings.Repeat("lorem ipsum ", 300)}); err != nil {
			t.Fatal(err)
		}
	}
	d.stop()
	return dir, start
}

// copyFolder copies the files of a data folder.
func copyFolder(t *testing.T, from string) (to string) {
	t.Helper()
	to = t.TempDir()
	for _, name := range []string{"api-key", "twine.db"} {
		if err := os.WriteFile(filepath.Join(to, name), readFile(t, filepath.Join(from, name)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// position is where in a data file message n of usedFolder is.
func position(t *testing.T, file []byte, n int) int {
	t.Helper()
	at := bytes.LastIndex(file, fmt.Appendf(nil, `{"n":%d,"text":"lorem`, n))
	if at < 0 {
		t.Fatalf("message %d is not in the file", n)
	}
	return at
}

// foreignDatabase returns a file of the same format that is not twined's.
func foreignDatabase(t *testing.T) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "foreign.db")
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucket([]byte("wallet"))
		if err != nil {
			return err
		}
		return b.Put([]byte("gold"), []byte("17"))
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return readFile(t, path)
}

// TestUselessDataFile: a file that cannot be read at all is not touched, and said to be damaged. With --quarantine it is
// set aside, and there is service.
func TestUselessDataFile(t *testing.T) {
	dir, start := usedFolder(t, 20)
	whole := readFile(t, filepath.Join(dir, "twine.db"))
	changed := func(change func(data []byte)) []byte {
		data := bytes.Clone(whole)
		change(data)
		return data
	}
	for name, data := range map[string][]byte{
		"cut in its middle": whole[:position(t, whole, 10)], // the file has room for more at its end
		"cut to its header": whole[:4096],
		"a few bytes":       whole[:100],
		"empty":             {},
		"both headers flipped": changed(func(data []byte) {
			data[16+20] ^= 0x10
			data[4096+16+20] ^= 0x10
		}),
		"a letter":         []byte("Dear Sir or Madam,\n" + strings.Repeat("I am not a history file. ", 2000)),
		"another database": foreignDatabase(t),
	} {
		t.Run(name, func(t *testing.T) {
			dir := copyFolder(t, dir)
			path := filepath.Join(dir, "twine.db")
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
			refuses(t, onFolder(t, dir), path, "damaged", "--quarantine")
			if !bytes.Equal(readFile(t, path), data) {
				t.Error("the file has been changed")
			}
			d := launch(t, dir, "--quarantine")
			if err := d.publish("r", map[string]int{"n": 1}); err != nil {
				t.Error(err)
			}
			if !strings.Contains(d.stderr.String(), "damaged") {
				t.Errorf("the log does not tell:\n%s", d.stderr)
			}
			// What was before is not called empty.
			response, text := d.do(t, "GET", "/v1/rooms/r/history?after="+start, http.Header{"Authorization": {d.key}}, nil)
			if response.StatusCode != 410 {
				t.Errorf("history: %s %s", response.Status, text)
			}
			d.stop()
			aside, _ := filepath.Glob(path + ".*")
			if len(aside) != 1 || !bytes.Equal(readFile(t, aside[0]), data) {
				t.Errorf("set aside: %q", aside)
			}
		})
	}
}

// TestDamagedDataFile flips bits. The daemon may refuse to start, or know a part of the history to be lost; it never
// takes a part for the whole.
func TestDamagedDataFile(t *testing.T) {
	const messages = 40
	dir, start := usedFolder(t, messages)
	whole := readFile(t, filepath.Join(dir, "twine.db"))
	places := map[string]int{
		"first header": 16 + 20, "second header": 4096 + 16 + 20,
		"message 1": position(t, whole, 1) + 50, "message 20": position(t, whole, 20) + 6, "last message": position(t, whole, messages) + 3000,
	}
	end := position(t, whole, messages)
	for i := range 6 {
		at := end * (2*i + 1) / 12
		places[fmt.Sprintf("byte %d", at)] = at
	}
	told := 0
	for name, at := range places {
		t.Run(name, func(t *testing.T) {
			dir := copyFolder(t, dir)
			path := filepath.Join(dir, "twine.db")
			data := bytes.Clone(whole)
			data[at] ^= 0x20
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
			d, refusal := tryLaunch(t, dir)
			if d == nil {
				told++
				if !strings.HasPrefix(refusal, "twined: ") || strings.Count(refusal, "\n") != 1 || !strings.Contains(refusal, "--quarantine") {
					t.Errorf("it refuses with %q", refusal)
				}
				return
			}
			response, text := d.do(t, "GET", "/v1/rooms/r/history?limit=1000&after="+start, http.Header{"Authorization": {d.key}}, nil)
			switch {
			case response.StatusCode == 410 && strings.Contains(text, `"to"`):
				told++
			case response.StatusCode != 200:
				t.Errorf("history: %s %.300s", response.Status, text)
			default:
				checkComplete(t, d, []byte(text), messages, &told)
			}
			if err := d.publish("r", map[string]int{"n": messages + 1}); err != nil {
				t.Error(err)
			}
			d.stop()
		})
	}
	if told < 4 {
		t.Errorf("of %d damages %d were noticed", len(places), told)
	}
}

// checkComplete reads a history to its end or to an error.
func checkComplete(t *testing.T, d *daemon, text []byte, messages int, told *int) {
	t.Helper()
	for next := 1; ; {
		var page historyPage
		if err := json.Unmarshal(text, &page); err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Entries {
			if e.n(t) != next {
				t.Fatalf("message %d follows %d", e.n(t), next-1)
			}
			next++
		}
		if !page.More {
			if next != messages+1 {
				t.Errorf("the history ends with message %d of %d, and nothing is said of a gap", next-1, messages)
			}
			return
		}
		response, answer := d.do(t, "GET", "/v1/rooms/r/history?limit=1000&after="+page.Next, http.Header{"Authorization": {d.key}}, nil)
		if response.StatusCode == 410 {
			*told++
			return
		}
		if text = []byte(answer); response.StatusCode != 200 {
			t.Fatalf("history: %s %.300s", response.Status, answer)
		}
	}
}

// TestFolderForAFile: something is where the data file should be.
func TestFolderForAFile(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "twine.db"), 0o700); err != nil {
		t.Fatal(err)
	}
	refuses(t, onFolder(t, dir), "twine.db", "not a regular file")
	refuses(t, onFolder(t, dir, "--quarantine"), "twine.db", "not a regular file")
	if info, err := os.Stat(filepath.Join(dir, "twine.db")); err != nil || !info.IsDir() {
		t.Errorf("the folder is gone: %v", err)
	}
}

func TestTwoDaemonsOnOneFolder(t *testing.T) {
	d := startDaemon(t)
	refuses(t, onFolder(t, d.dir), "in use by another process")
	refuses(t, onFolder(t, d.dir, "--quarantine"), "in use by another process")
	if err := d.publish("r", map[string]int{"n": 1}); err != nil {
		t.Error(err)
	}
}

// TestReadOnlyFolder runs the daemon as a user who cannot write to the data folder.
func TestReadOnlyFolder(t *testing.T) {
	const nobody = 65534
	used, _ := usedFolder(t, 1)
	for name, test := range map[string]struct {
		folder string
		mode   fs.FileMode
		want   string
	}{
		"empty":                  {t.TempDir(), 0o500, "API key"},
		"with a history":         {copyFolder(t, used), 0o500, "twine.db"},
		"that cannot be entered": {copyFolder(t, used), 0, "API key"},
	} {
		t.Run(name, func(t *testing.T) {
			process := onFolder(t, test.folder)
			names, err := filepath.Glob(filepath.Join(test.folder, "*"))
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range names {
				if err := os.Chmod(name, 0o400); err != nil {
					t.Fatal(err)
				}
			}
			if os.Getuid() == 0 { // whom no mode keeps out
				process.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
				for _, name := range append(names, test.folder) {
					if err := os.Chown(name, nobody, nobody); err != nil {
						t.Fatal(err)
					}
				}
				for _, dir := range []string{filepath.Dir(binary), filepath.Dir(test.folder)} {
					if err := os.Chmod(dir, 0o755); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := os.Chmod(test.folder, test.mode); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.Chmod(test.folder, 0o700) })
			refuses(t, process, test.want, "permission denied")
		})
	}
}
