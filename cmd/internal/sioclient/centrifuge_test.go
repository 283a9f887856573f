package sioclient

import (
	"slices"
	"strings"
	"testing"
)

// centrifugeRecorder is a recorder of the other dialect.
type centrifugeRecorder struct{ recorder }

func (r *centrifugeRecorder) text(c *conn, data []byte) error { return c.replies(r, data) }
func (r *centrifugeRecorder) upgraded(*conn) error            { return r.add("upgraded", nil) }

func TestCentrifugeReceive(t *testing.T) {
	const connectReply = `{"id":1,"connect":{"client":"c","ping":25,"pong":true,"subs":{"bench":{}}}}`
	stream := switching + text(connectReply) + text(`{"push":{"channel":"bench","pub":{"data":["m","1"]}}}`) + text("{}") +
		text(`{"push":{"channel":"bench","pub":{"data":["m","2"]}}}`+"\n"+`{"push":{"channel":"bench","pub":{"data":{"a":{}}}}}`+"\n")
	want := []string{"upgraded", "joined " + connectReply, `event ["m","1"]`, "ping", `event ["m","2"]`, `event {"a":{}}`}
	for _, step := range []int{1, 7, len(stream)} {
		r, c := &centrifugeRecorder{}, &conn{phase: upgrading}
		var left []byte
		for piece := range slices.Chunk([]byte(stream), step) {
			left = append(left, piece...)
			used, err := c.receive(r, left)
			if err != nil {
				t.Fatalf("in steps of %d: %v", step, err)
			}
			left = left[used:]
		}
		if !slices.Equal(r.log, want) || c.phase != connected || len(left) > 0 {
			t.Errorf("in steps of %d: %q", step, r.log)
		}
	}
}

func TestCentrifugeRefusesWhatItDoesNotExpect(t *testing.T) {
	for _, line := range []string{
		`{"id":1,"error":{"code":101,"message":"unauthorized"}}`, `{"push":{"channel":"bench","join":{}}}`, `{"push":{"channel":"bench","pub":{"data":1}}`,
		`{"push":{"disconnect":{"code":3001}}}`, `0{"sid":"a"}`,
	} {
		c := &conn{phase: opening}
		if err := c.replies(&centrifugeRecorder{}, []byte(line)); err == nil || !strings.Contains(err.Error(), "unexpected reply") {
			t.Errorf("%s: %v", line, err)
		}
	}
}
