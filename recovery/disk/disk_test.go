package disk_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/recovery/disk"
	"github.com/twine-realtime/twine/recovery/recoverytest"
	"github.com/twine-realtime/twine/twine/leaktest"
)

func TestLog(t *testing.T) {
	recoverytest.Log(t, func(t testing.TB) recoverytest.LogUnderTest {
		path := filepath.Join(t.TempDir(), "history.db")
		open := func() *disk.Store {
			// Segments small enough that a history has several.
			s, err := disk.Open(path, disk.Options{SegmentBytes: 1000})
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		store := open()
		t.Cleanup(func() { _ = store.Close() })
		return recoverytest.LogUnderTest{
			Log: store.Log(),
			Reopen: func() recovery.Log {
				if err := store.Close(); err != nil {
					t.Fatal(err)
				}
				store = open()
				return store.Log()
			},
		}
	})
}

func TestMain(m *testing.M) {
	if child() {
		return
	}
	leaktest.Main(m)
}

func TestSessions(t *testing.T) {
	recoverytest.Sessions(t, func(t testing.TB, now func() time.Time) recoverytest.SessionsUnderTest {
		path := filepath.Join(t.TempDir(), "history.db")
		opts := disk.Options{Hold: recoverytest.Hold, Now: now}
		store := openStore(t, path, opts)
		t.Cleanup(func() { _ = store.Close() })
		return recoverytest.SessionsUnderTest{
			Sessions: store.Sessions(),
			Reopen: func() recovery.Sessions {
				if err := store.Close(); err != nil {
					t.Fatal(err)
				}
				store = openStore(t, path, opts)
				return store.Sessions()
			},
		}
	})
}
