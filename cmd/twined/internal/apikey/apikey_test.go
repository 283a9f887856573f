package apikey

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestContains(t *testing.T) {
	set := NewSet("first", "second")
	for key, want := range map[string]bool{"first": true, "second": true, "": false, "firs": false, "first ": false, "FIRST": false} {
		if set.Contains(key) != want {
			t.Errorf("Contains(%q) is %v", key, !want)
		}
	}
	if NewSet().Contains("") {
		t.Error("an empty set accepts the empty key")
	}
}

func TestLoadGeneratesOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "on demand")
	first, err := Load(dir)
	if err != nil || !first.Generated || !strings.HasPrefix(first.Key, prefix) || len(first.Key) < 40 {
		t.Fatalf("first Load: %+v, %v", first, err)
	}
	info, err := os.Stat(first.Path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("file: %v, %v", info.Mode(), err)
	}
	again, err := Load(dir)
	if err != nil || again.Generated || again.Exposed || again.Key != first.Key {
		t.Errorf("second Load: %+v, %v", again, err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("the folder holds %v", entries)
	}
}

func TestFindChangesNothing(t *testing.T) {
	dir := t.TempDir()
	if key, err := Find(dir); !errors.Is(err, fs.ErrNotExist) || key != "" {
		t.Errorf("in an empty folder: %q, %v", key, err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) > 0 {
		t.Errorf("the folder holds %v", entries)
	}
	kept, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(kept.Path, 0o644); err != nil {
		t.Fatal(err)
	}
	key, err := Find(dir)
	info, statErr := os.Stat(kept.Path)
	if err != nil || key != kept.Key || statErr != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("%q, %v, %v", key, err, info.Mode())
	}
	if err := os.WriteFile(kept.Path, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if key, err := Find(dir); err == nil || key != "" || !strings.Contains(err.Error(), "does not hold an API key") {
		t.Errorf("an empty file: %q, %v", key, err)
	}
}

func TestLoadAtTheSameMoment(t *testing.T) {
	dir := t.TempDir()
	var wg sync.WaitGroup
	all := make([]Kept, 8)
	for i := range all {
		wg.Go(func() {
			var err error
			if all[i], err = Load(dir); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	count := 0
	for _, kept := range all {
		if kept.Key != all[0].Key {
			t.Errorf("two keys: %q and %q", all[0].Key, kept.Key)
		}
		if kept.Generated {
			count++
		}
	}
	if count != 1 {
		t.Errorf("%d processes say that they generated the key", count)
	}
}

func TestLoadPutsPermissionsRight(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, fileName)
	if err := os.WriteFile(path, []byte("hand-written\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	kept, err := Load(dir)
	if err != nil || kept.Key != "hand-written" || !kept.Exposed {
		t.Errorf("Load: %+v, %v", kept, err)
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
		t.Errorf("mode is %v", info.Mode())
	}
}

func TestLoadRefusesAFileWithoutAKey(t *testing.T) {
	for _, text := range []string{"", "\n", "two words", "k\x00"} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, fileName), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if kept, err := Load(dir); err == nil || !strings.Contains(err.Error(), "does not hold an API key") {
			t.Errorf("%q: got %+v, error %v", text, kept, err)
		}
	}
}

func TestLoadInAFolderThatCannotBe(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(filepath.Join(file, "data")); err == nil {
		t.Error("no error")
	}
}
