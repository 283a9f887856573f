package original

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/twine-realtime/twine/twine"
)

// converse connects a client to a server with the original's events, sends it the packets, and returns all that the
// server says up to the packet last.
func converse(t *testing.T, last string, packets ...string) (heard []string) {
	t.Helper()
	srv := twine.NewServer(nil)
	Handle(srv, slog.New(slog.DiscardHandler))
	web := httptest.NewServer(srv)
	defer web.Close()
	defer srv.Close(t.Context())
	conn, early, _, err := ws.Dial(t.Context(), strings.Replace(web.URL, "http", "ws", 1)+"/socket.io/?EIO=4&transport=websocket")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	server := struct {
		io.Reader
		io.Writer
	}{conn, conn}
	if early != nil {
		server.Reader = early // what was read along with the handshake, and the rest
	}
	say := func(packet string) {
		t.Helper()
		if err := wsutil.WriteClientText(conn, []byte(packet)); err != nil {
			t.Fatal(err)
		}
	}
	say("40")
	for {
		data, err := wsutil.ReadServerText(server)
		if err != nil {
			t.Fatalf("%v after %q", err, heard)
		}
		switch packet := string(data); {
		case packet == last:
			return append(heard, packet)
		case strings.HasPrefix(packet, "40"):
			for _, packet := range packets {
				say(packet)
			}
		case packet[0] == '4':
			heard = append(heard, packet)
		}
	}
}

func TestEventsAcknowledged(t *testing.T) {
	got := converse(t, `436[]`,
		`421["subscribe","a"]`,
		`422["subscribe",["b","c"]]`,
		`423["subscribe",5]`,
		`424["subscribe",""]`,
		`425["subscribe",["d",""]]`,
		`426["unsubscribe","a"]`)
	want := []string{
		`42["roomJoined","You have joined room: a"]`, `431[]`,
		`42["roomJoined","You have joined room: b"]`, `42["roomJoined","You have joined room: c"]`, `432[]`,
		`433[{"error":"the first argument is neither a room nor a list of rooms"}]`,
		`434[{"error":"the room is empty"}]`,
		`435[{"error":"the room is empty"}]`,
		`42["roomLeft","You have left room: a"]`, `436[]`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestRoomsAreBounded(t *testing.T) {
	many := `[` + strings.Repeat(`"r",`, maxRooms) + `"r"]`
	if got := converse(t, `432[]`, `421["subscribe",`+many+`]`, `422["unsubscribe","r"]`); !slices.Contains(got, `431[{"error":"no more than 10000 rooms"}]`) {
		t.Errorf("got %q", got)
	}
}

func TestRoomsAgainAreNotMore(t *testing.T) {
	var rooms []string
	for n := range maxRooms - 1 { // and its own
		rooms = append(rooms, strconv.Itoa(n))
	}
	all, _ := json.Marshal(rooms)
	got := converse(t, `434[]`, `421["subscribe",`+string(all)+`]`, `422["subscribe",`+string(all)+`]`, `423["subscribe","one more"]`, `424["unsubscribe","0"]`)
	answers := slices.DeleteFunc(got, func(packet string) bool { return strings.HasPrefix(packet, "42") })
	if want := []string{`431[]`, `432[]`, `433[{"error":"no more than 10000 rooms"}]`, `434[]`}; !slices.Equal(answers, want) {
		t.Errorf("got %q", answers)
	}
}
