package redislog

import (
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/twine-realtime/twine/recovery"
)

func TestDial(t *testing.T) {
	for address, want := range map[string]string{
		"redis://127.0.0.1:1/2":                        "single",
		"rediss://u:p@127.0.0.1:1":                     "single",
		"redis://127.0.0.1:1?addr=127.0.0.1:2":         "cluster",
		"redis://127.0.0.1:1?master_name=m&addr=a.b:2": "single", // as Sentinels' clients are
	} {
		rdb, err := Dial(address)
		if err != nil {
			t.Fatalf("%s: %v", address, err)
		}
		got := "single"
		if _, ok := rdb.(*redis.ClusterClient); ok {
			got = "cluster"
		}
		if got != want {
			t.Errorf("%s: a client of a %s", address, got)
		}
		_ = rdb.Close()
	}
	for _, address := range []string{"http://127.0.0.1", "redis://u:secret@127.0.0.1:x", "redis://127.0.0.1/?nonsense=1", "\x00"} {
		if _, err := Dial(address); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestUnreadEntriesAreOrdered(t *testing.T) {
	var s Stream
	for _, seq := range []uint64{3, 1, 4, 1, 5} {
		s.addUnread(&pending{offset: recovery.Offset{MS: 1, Seq: seq}})
	}
	for i, want := range []uint64{1, 1, 3, 4, 5} {
		if got := s.unread[i].offset.Seq; got != want {
			t.Errorf("%d is at %d, want %d", got, i, want)
		}
	}
}

// What is stored of a session and was damaged is not taken for one.
func TestDamagedSession(t *testing.T) {
	for _, fields := range [][]string{{"", "", "0", "0"}, {"{}", "", "x", "0"}, {"{}", "", "0", ""}} {
		if _, err := decodeState(fields); err == nil {
			t.Errorf("decoded %q", fields)
		}
	}
}
