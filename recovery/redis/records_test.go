package redislog

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/recovery/redis/wire"
)

func bulk(parts ...string) (text string) {
	for _, p := range parts {
		text += fmt.Sprintf("$%d\r\n%s\r\n", len(p), p)
	}
	return text
}

const plainRecord = `{"packet":{"type":2,"data":["e",1]},"opts":{"rooms":["r"],"except":[],"flags":{}}}`

func records(n int) string {
	text := fmt.Sprintf("*%d\r\n", n)
	for i := range n {
		text += "*2\r\n" + bulk(fmt.Sprintf("1700000000000-%d", i)) + "*10\r\n" +
			bulk("uid", "0123456789abcdef", "nsp", "/", "type", "3", "data", plainRecord, "id", fmt.Sprint("key ", i))
	}
	return text
}

// The reply of either version of RESP.
func TestReadReply(t *testing.T) {
	for version, head := range map[string]string{"2": "*1\r\n*2\r\n", "3": "%1\r\n"} {
		got, err := readReply([]byte(head+bulk("socket.io")+records(3)), nil)
		if err != nil || len(got) != 3 {
			t.Fatalf("RESP%s: %d records, %v", version, len(got), err)
		}
		for i := range got {
			r := &got[i]
			var b wire.Broadcast
			if ok, err := r.broadcast(&b); err != nil || !ok {
				t.Fatal(ok, err)
			}
			e := r.entry(&b)
			if e.Offset != (recovery.Offset{MS: 1_700_000_000_000, Seq: uint64(i)}) || e.ID != fmt.Sprint("key ", i) ||
				string(e.Data) != `["e",1]` || len(e.Rooms) != 1 || e.Rooms[0] != "r" || e.Except != nil || r.unlogged || r.start {
				t.Errorf("RESP%s: %+v", version, e)
			}
			if m := r.message(); m.UID != "0123456789abcdef" || m.Namespace != "/" || m.Type != 3 || m.Data != plainRecord {
				t.Errorf("RESP%s: %+v", version, m)
			}
		}
	}
	for _, nothing := range []string{"*-1\r\n", "_\r\n"} {
		if got, err := readReply([]byte(nothing), nil); err != nil || len(got) != 0 {
			t.Errorf("%q: %v, %v", nothing, got, err)
		}
	}
}

// What is cut off, or something else, is an error at each place.
func TestReplyIsCutOff(t *testing.T) {
	whole := "*1\r\n*2\r\n" + bulk("socket.io") + records(2)
	for n := range len(whole) {
		if got, err := readReply([]byte(whole[:n]), nil); err == nil {
			t.Fatalf("%q: %v", whole[:n], got)
		}
	}
	for _, other := range []string{"", "\r\n", "+OK\r\n", ":1\r\n", "*x\r\n", "*99999999999\r\n", "*3\r\n", "*1\r\n*1\r\n", "*0\r\n",
		strings.Replace(whole, "1700000000000-0", "1700000000000.0", 1), strings.Replace(whole, "$3\r\nuid", ":333333", 1)} {
		if got, err := readReply([]byte(other), nil); !errors.Is(err, errReply) {
			t.Errorf("%q: %v, %v", other, got, err)
		}
	}
	if _, err := readReply([]byte("-LOADING Redis is loading\r\n"), nil); err == nil || !strings.Contains(err.Error(), "LOADING") {
		t.Error(err)
	}
}

func FuzzReadReply(f *testing.F) {
	f.Add([]byte("*1\r\n*2\r\n" + bulk("socket.io") + records(2)))
	f.Add([]byte("%1\r\n" + bulk("socket.io") + records(1)))
	f.Fuzz(func(t *testing.T, raw []byte) {
		got, err := readReply(raw, nil)
		if err != nil && got != nil {
			t.Errorf("%v with %v", got, err)
		}
		for i := range got {
			got[i].message()
		}
	})
}

func BenchmarkReadReply(b *testing.B) {
	raw := []byte("*1\r\n*2\r\n" + bulk("socket.io") + records(512))
	b.ReportAllocs()
	var got []record
	var broadcast wire.Broadcast
	for b.Loop() {
		var err error
		if got, err = readReply(raw, got); err != nil {
			b.Fatal(err)
		}
		for i := range got {
			if _, err := got[i].broadcast(&broadcast); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/512, "ns/entry")
}
