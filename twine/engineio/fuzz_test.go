package engineio

import (
	"encoding/base64"
	"slices"
	"strings"
	"testing"

	"github.com/gobwas/ws"
)

// FuzzPollingPayload checks that no body of a POST does harm, and that what it carries is received as a decoder that
// works another way reads it.
func FuzzPollingPayload(f *testing.F) {
	for _, seed := range []string{"", "4", "4hello", "4a\x1e4b\x1ebAQID", "b", "b!", "bAQ==\n", "2", "3", "1\x1e4x", "0\x1e5\x1e6",
		"\x1e", "4\xff", "4€\x1e4\U0001f600", "b" + base64.StdEncoding.EncodeToString(make([]byte, 100))} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var want []string
		valid := strings.ToValidUTF8(string(body), "") == string(body)
	packets:
		for packet := range strings.SplitSeq(string(body), "\x1e") {
			if packet == "" || !valid {
				valid = false
				break
			}
			switch packet[0] {
			case '4':
				want = append(want, packet[1:])
			case 'b':
				b, err := base64.StdEncoding.DecodeString(packet[1:])
				if err != nil {
					valid = false
					break packets
				}
				want = append(want, "b:"+string(b))
			case '1':
				break packets
			case '0', '3', '5', '6':
			default:
				valid = false
				break packets
			}
		}
		r := new(recorder)
		s := newFed(r, nil)
		defer s.server.wheel.close()
		defer s.endLocking(ReasonForcedClose, nil)
		err := s.handlePayload(slices.Clone(body), false)
		if (err == nil) != valid {
			t.Errorf("error %v, want valid %v", err, valid)
		}
		if got := r.got(); !slices.Equal(got, want) {
			t.Errorf("received %q, want %q", got, want)
		}
	})
}

// FuzzPollingPayloadV3 checks that no body of a v3 client's POST does harm.
func FuzzPollingPayloadV3(f *testing.F) {
	f.Add([]byte("6:4hello2:4€"), false)
	f.Add([]byte("3:4\U0001f6003:b4A"), false)
	f.Add([]byte("-1:4"), false)
	f.Add([]byte("4294967295:4"), false)
	f.Add([]byte("\x00\x02\xff4a\x01\x03\xff\x04\x00\x01"), true)
	f.Add([]byte("\x00\xff"), true)
	f.Add([]byte("\x01\x09\x09\x09\x09\x09\x09\x09\x09\x09\xff"), true)
	f.Fuzz(func(t *testing.T, body []byte, binary bool) {
		r := new(recorder)
		s := newFed(r, nil)
		s.v3 = true
		defer s.server.wheel.close()
		defer s.endLocking(ReasonForcedClose, nil)
		if err := s.handlePayload(slices.Clone(body), binary); err == errPanic {
			t.Error("panicked")
		}
		n := 0
		for _, m := range r.got() {
			n += len(m)
		}
		if n > 3*len(body) {
			t.Errorf("%d bytes became %d", len(body), n)
		}
	})
}

// FuzzFrameReader checks that no bytes on a WebSocket do harm, that what is kept of them is bounded, and that it makes
// no difference in which pieces they arrive.
func FuzzFrameReader(f *testing.F) {
	hello := clientFrame(ws.OpText, true, "4hello")
	f.Add(hello, []byte{1})
	f.Add(frames(hello, hello, clientClose(1000), hello), []byte{3, 200})
	f.Add(frames(clientFrame(ws.OpText, false, "4a"), clientFrame(ws.OpPing, true, "p"), clientFrame(ws.OpContinuation, true, "b")), []byte{5, 5})
	f.Add(frames(clientFrame(ws.OpBinary, true, strings.Repeat("x", 300)), hello[:5]), []byte{0, 0, 7})
	f.Add(longFrameHeader(1<<63), []byte{9})
	f.Add(longFrameHeader(1<<40), []byte{})
	f.Add([]byte{0xc1, 0x80, 0, 0, 0, 0}, []byte{2})
	f.Fuzz(func(t *testing.T, stream, cuts []byte) {
		feedInPieces(t, func() *conn { return newConn(sink{}) }, stream, cuts)
	})
}

// FuzzStreamReader is FuzzFrameReader for the packets of a stream.
func FuzzStreamReader(f *testing.F) {
	hello := streamPacket("4hello", false)
	f.Add(hello, []byte{1})
	f.Add(frames(hello, streamPacket("\x00\xff", true), hello), []byte{3, 200})
	f.Add(frames(streamPacket(strings.Repeat("x", 300), true), hello[:3]), []byte{0, 1, 1, 7})
	f.Add(frames(streamPacket("4"+strings.Repeat("x", 66_000), false), hello), []byte{2, 3, 4})
	f.Add(frames(streamPacket("3", false), streamPacket("bAA==", false), streamPacket("1", false), hello), []byte{4})
	f.Add([]byte{0}, []byte{})
	f.Add([]byte{0xff, 0x80, 0, 0, 0, 0, 0, 0, 0}, []byte{8})
	f.Fuzz(func(t *testing.T, stream, cuts []byte) {
		feedInPieces(t, func() *conn {
			c := newConn(sink{})
			c.stream = true
			return c
		}, stream, cuts)
	})
}

func feedInPieces(t *testing.T, open func() *conn, stream, cuts []byte) {
	whole, wholeErr := feed(t, open(), slices.Clone(stream), nil)
	var sizes []int
	for _, n := range cuts {
		sizes = append(sizes, int(n))
	}
	pieces, piecesErr := feed(t, open(), slices.Clone(stream), sizes)
	if wholeErr == errPanic || !slices.Equal(whole, pieces) || wholeErr != piecesErr {
		t.Errorf("at once: %q, %v; in pieces of %v: %q, %v", whole, wholeErr, sizes, pieces, piecesErr)
	}
}
