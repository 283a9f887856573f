package console

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/twine-realtime/twine/recovery/memory"
	"github.com/twine-realtime/twine/twine"
)

// service is a console before a server.
type service struct {
	*Console
	t   *testing.T
	web *httptest.Server
	hot *memory.Log
}

func start(t *testing.T, change func(*Options)) *service {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	hot := memory.NewLog(memory.LogOptions{MaxBytes: 4 << 20})
	srv := twine.NewServer(&twine.Options{Logger: quiet, Recovery: &twine.Recovery{Hot: hot, Sessions: memory.NewSessions(memory.SessionsOptions{})}})
	twine.HandleEvent(srv, "subscribe", func(_ context.Context, s *twine.Socket, room string) error {
		s.Join(room)
		return s.Unlogged().Emit("joined")
	})
	opts := Options{Twine: srv, Recent: hot, Authorized: func(key string) bool { return key == "secret" }, Version: "v1.2.3", Log: quiet}
	if change != nil {
		change(&opts)
	}
	s := &service{Console: New(opts), t: t, hot: hot}
	mux := http.NewServeMux()
	mux.Handle(Path, s.Console)
	mux.Handle("/socket.io/", srv)
	s.web = httptest.NewServer(mux)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		s.Console.Close()
		s.web.Close()
		if err := srv.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return s
}

// ask sends a request with a valid key.
func (s *service) ask(path string, header ...string) (*http.Response, string) {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), "GET", s.web.URL+Path+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer secret")
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := s.web.Client().Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return response, string(text)
}

func (s *service) into(path string, v any) {
	s.t.Helper()
	response, text := s.ask(path)
	if response.StatusCode != 200 || response.Header.Get("Content-Type") != "application/json" || response.Header.Get("Cache-Control") != "no-store" {
		s.t.Fatalf("%s: %s %v %s", path, response.Status, response.Header, text)
	}
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(v); err != nil {
		s.t.Fatalf("%s: %v", text, err)
	}
}

// join connects a client that is in the rooms.
func (s *service) join(rooms ...string) {
	s.t.Helper()
	conn, early, _, err := ws.Dial(s.t.Context(), strings.Replace(s.web.URL, "http", "ws", 1)+"/socket.io/?EIO=4&transport=websocket")
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	var ends struct {
		io.Reader
		io.Writer
	}
	ends.Reader, ends.Writer = conn, conn
	if early != nil {
		ends.Reader = early
	}
	conn.SetDeadline(time.Now().Add(time.Minute))
	talk := func(packet, answer string) {
		s.t.Helper()
		if err := wsutil.WriteClientText(conn, []byte(packet)); err != nil {
			s.t.Fatal(err)
		}
		for data := []byte(nil); !strings.HasPrefix(string(data), answer); {
			if data, err = wsutil.ReadServerText(ends); err != nil {
				s.t.Fatal(err)
			}
		}
	}
	talk("40", "40{")
	for _, room := range rooms {
		talk(fmt.Sprintf(`42["subscribe",%q]`, room), `42["joined"`)
	}
}

func TestPageIsSafe(t *testing.T) {
	s := start(t, nil)
	response, page := s.ask("", "Authorization", "") // without a key
	if response.StatusCode != 200 || !strings.HasPrefix(response.Header.Get("Content-Type"), "text/html") {
		t.Fatalf("%s %v", response.Status, response.Header)
	}
	for _, inline := range []string{`<script>`, `<style`, ` style=`, ` on\w+=`, `javascript:`} {
		if found := regexp.MustCompile(inline).FindString(page); found != "" {
			t.Errorf("the page has %q, which its policy forbids", found)
		}
	}
	elsewhere := regexp.MustCompile(`(?:https?:)?//[\w.-]+\.\w+[^\s"')]*`)
	names := []string{""}
	for _, found := range regexp.MustCompile(`(?:src|href)="([^"]*)"|from "\./([^"]*)"`).FindAllStringSubmatch(page, -1) {
		names = append(names, found[1])
	}
	for i := 0; i < len(names); i++ { // modules name further ones
		response, text := s.ask(names[i], "Authorization", "")
		header := response.Header
		if response.StatusCode != 200 {
			t.Fatalf("%s: %s", names[i], response.Status)
		}
		for _, rule := range []string{"default-src 'none'", "script-src 'self';", "style-src 'self';", "connect-src 'self';", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'"} {
			if !strings.Contains(header.Get("Content-Security-Policy"), rule) {
				t.Errorf("%s: the policy %q lacks %q", names[i], header.Get("Content-Security-Policy"), rule)
			}
		}
		if header.Get("X-Content-Type-Options") != "nosniff" || header.Get("X-Frame-Options") != "DENY" || header.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("%s: %v", names[i], header)
		}
		if found := elsewhere.FindString(text); found != "" && found != "http://www.w3.org/2000/svg" {
			t.Errorf("%s names %s", names[i], found)
		}
		again, _ := s.ask(names[i], "If-None-Match", header.Get("ETag"))
		if again.StatusCode != http.StatusNotModified {
			t.Errorf("%s, which has not changed: %s", names[i], again.Status)
		}
		for _, found := range regexp.MustCompile(`from "\./([^"]*)"`).FindAllStringSubmatch(text, -1) {
			if !slices.Contains(names, found[1]) {
				names = append(names, found[1])
			}
		}
	}
	if entries, err := files.ReadDir("page"); err != nil || len(names) != len(entries)+1 { // the icon twice
		t.Errorf("the page loads %q of %d files, %v", names, len(entries), err)
	}
}

func TestNothingWithoutAKey(t *testing.T) {
	s := start(t, nil)
	for _, path := range []string{"status", "rooms", "tail?room=r"} {
		for header, why := range map[string]string{"": "no API key", "Bearer": "wrong", "wrong": "wrong", "Bearer wrong": "wrong", "Basic secret": "wrong"} {
			response, text := s.ask(path, "Authorization", header)
			if response.StatusCode != 401 || response.Header.Get("WWW-Authenticate") == "" || !strings.Contains(text, why) {
				t.Errorf("%s with %q: %s %s", path, header, response.Status, text)
			}
		}
	}
	for _, header := range []string{"secret", "bearer secret"} {
		if response, _ := s.ask("status", "Authorization", header); response.StatusCode != 200 {
			t.Errorf("with %q: %s", header, response.Status)
		}
	}
	if response, _ := s.ask("nothing"); response.StatusCode != 404 {
		t.Errorf("what is not there: %s", response.Status)
	}
}

func TestStatus(t *testing.T) {
	s := start(t, func(o *Options) {
		o.Published = func() map[string]float64 { return map[string]float64{"accepted": 7} }
	})
	s.join("a", "b")
	s.join("a")
	var got Status
	s.into("status", &got)
	if got.Version != "v1.2.3" || got.Clients != 2 || got.Rooms != 2 || got.Published["accepted"] != 7 || !got.Ready || got.Reason != "" ||
		got.Uptime <= 0 || time.Since(got.Started) > time.Minute || got.Problem != "" {
		t.Errorf("got %+v", got)
	}
	if len(got.Nodes) != 1 || !got.Nodes[0].Self || *got.Nodes[0].Clients != 2 || got.Nodes[0].Name == "" {
		t.Errorf("nodes %+v", got.Nodes)
	}
}

func TestStatusOfACluster(t *testing.T) {
	var failure error
	s := start(t, func(o *Options) {
		o.Ready = func() string { return "shutting down" }
		o.Nodes = func(ctx context.Context) ([]Node, error) {
			if _, bounded := ctx.Deadline(); !bounded {
				t.Error("the other nodes have all the time in the world")
			}
			if failure != nil {
				return nil, failure
			}
			return []Node{{Name: "a"}, {Name: "b", Self: true}}, nil
		}
	})
	var got Status
	s.into("status", &got)
	if got.Ready || got.Reason != "shutting down" || len(got.Nodes) != 2 || got.Nodes[1].Name != "b" || got.Problem != "" {
		t.Errorf("got %+v", got)
	}
	failure = errors.New("out of reach")
	got = Status{}
	s.into("status", &got)
	if len(got.Nodes) != 1 || !got.Nodes[0].Self || !strings.Contains(got.Problem, "did not answer") {
		t.Errorf("got %+v when the others are out of reach", got)
	}
}

type roomList struct {
	Rooms      []Room
	Found, All int
}

func TestRooms(t *testing.T) {
	s := start(t, nil)
	s.join("news", "Match 1")
	s.join("news", "match 2")
	s.join("match 2", "news")
	for query, want := range map[string]string{
		"rooms":         `{[{news 3} {match 2 2} {Match 1 1}] 3 3}`,
		"rooms?q=MATCH": `{[{match 2 2} {Match 1 1}] 2 3}`,
		"rooms?q=other": `{[] 0 3}`,
		"rooms?q=":      `{[{news 3} {match 2 2} {Match 1 1}] 3 3}`,
	} {
		var got roomList
		s.into(query, &got)
		if fmt.Sprint(got) != want || got.Rooms == nil {
			t.Errorf("%s: %v, want %s", query, got, want)
		}
	}
}

// TestManyRooms: an answer is bounded, and the list is made once for all who ask at the same time.
func TestManyRooms(t *testing.T) {
	asked := 0
	var failure error
	s := start(t, func(o *Options) {
		o.Rooms = func(context.Context) (map[string]int, error) {
			asked++
			sizes := map[string]int{}
			for i := range 1000 {
				sizes[fmt.Sprintf("room %03d", i)] = 1 + i%10
			}
			return sizes, failure
		}
	})
	var got roomList
	for range 5 {
		s.into("rooms?q=room", &got)
	}
	if len(got.Rooms) != maxListed || got.Found != 1000 || got.All != 1000 || got.Rooms[0] != (Room{"room 009", 10}) {
		t.Errorf("%d rooms, %d found of %d, the first %v", len(got.Rooms), got.Found, got.All, got.Rooms[0])
	}
	if asked > 2 { // on a slow machine a second may have passed
		t.Errorf("the list was made %d times", asked)
	}
	failure = errors.New("out of reach")
	s.rooms.mu.Lock()
	s.rooms.made = time.Time{}
	s.rooms.mu.Unlock()
	if response, text := s.ask("rooms"); response.StatusCode != 503 || response.Header.Get("Retry-After") == "" || !strings.Contains(text, "try again") {
		t.Errorf("%s %s", response.Status, text)
	}
	var status Status
	s.into("status", &status)
	if !strings.Contains(status.Problem, "did not answer") {
		t.Errorf("got %+v when the rooms are out of reach", status)
	}
}

func TestWelcome(t *testing.T) {
	front := Welcome(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(201) }))
	for accept, want := range map[string]int{
		"":                                  201,
		"*/*":                               201,
		"text/*":                            201,
		"application/json, text/plain, */*": 201,
		"text/html":                         302,
		"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8": 302,
		"text/plain;q=0.5, TEXT/HTML; q=0.9":                              302,
		"text/html;q=0.1, text/plain":                                     201,
		"text/html;q=0":                                                   201,
		"text/html;q=much":                                                201,
		";;;":                                                             201,
	} {
		request := httptest.NewRequest("GET", "/", nil)
		request.Header.Set("Accept", accept)
		answer := httptest.NewRecorder()
		front.ServeHTTP(answer, request)
		if answer.Code != want || answer.Header().Get("Vary") != "Accept" {
			t.Errorf("Accept: %s: %d %v, want %d", accept, answer.Code, answer.Header(), want)
		}
		if location := answer.Header().Get("Location"); want == 302 && location != "console/" {
			t.Errorf("Accept: %s: shown to %q", accept, location)
		}
	}
}
