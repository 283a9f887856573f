package engineio_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/twine-realtime/twine/twine/engineio"
)

// echo sends every message back.
type echo struct{ session *engineio.Session }

func (e echo) Message(data []byte, binary bool) error {
	if binary {
		return e.session.Send(engineio.NewBinary(data))
	}
	return e.session.Send(engineio.NewText(data))
}

func (e echo) Closed(reason engineio.Reason, err error) { fmt.Println("closed:", reason) }

// A server mounts on any mux, beside other routes. The embedding program owns the http.Server and therefore bounds how
// long a client may take to send its request headers; ReadTimeout and WriteTimeout do not apply to sessions.
func Example() {
	srv := engineio.NewServer(nil, func(s *engineio.Session) engineio.Handler { return echo{s} })
	mux := http.NewServeMux()
	mux.Handle("/engine.io/", srv)
	hs := httptest.NewUnstartedServer(mux)
	hs.Config.ReadHeaderTimeout = 10 * time.Second
	hs.Start()
	defer hs.Close()

	// A client that speaks long-polling by hand.
	url := hs.URL + "/engine.io/?EIO=4&transport=polling"
	open := get(url)
	_, sid, _ := strings.Cut(open, `"sid":"`)
	url += "&sid=" + sid[:20]
	fmt.Println(post(url, "4hello\x1e4world"))
	fmt.Printf("%q\n", get(url))
	fmt.Println(srv.ClientsCount(), "session")
	post(url, "1") // close

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	get(url) // lets the client's last poll go
	if err := srv.Close(ctx); err != nil {
		log.Print(err)
	}
	// Output:
	// ok
	// "4hello\x1e4world"
	// 1 session
	// closed: transport close
}

// A broadcast frames its message once, however many sessions it goes to.
func ExampleSession_Send() {
	var sessions []*engineio.Session // of a room, say
	news := engineio.NewText([]byte("news for everyone"))
	for _, s := range sessions {
		_ = s.Send(news)
	}
}

// AllowRequest decides on each handshake; the client of a refused one sees the error's text with code 4.
func ExampleOptions_allowRequest() {
	srv := engineio.NewServer(&engineio.Options{
		AllowRequest: func(r *http.Request) error {
			if r.URL.Query().Get("token") != "secret" {
				return fmt.Errorf("unknown token")
			}
			return nil
		},
	}, func(s *engineio.Session) engineio.Handler { return echo{s} })
	hs := httptest.NewServer(srv)
	defer hs.Close()
	fmt.Println(get(hs.URL + "/?EIO=4&transport=polling"))
	// Output: {"code":4,"message":"unknown token"}
}

func get(url string) string {
	res, err := http.Get(url)
	if err != nil {
		return err.Error()
	}
	return body(res)
}

func post(url, payload string) string {
	res, err := http.Post(url, "text/plain", strings.NewReader(payload))
	if err != nil {
		return err.Error()
	}
	return body(res)
}

func body(res *http.Response) string {
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body)
	return string(b)
}
