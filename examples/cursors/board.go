package main

import (
	"cmp"
	"context"
	"embed"
	"io/fs"
	"net/http"
	"slices"
	"sync"
	"unicode/utf8"

	"github.com/twine-realtime/twine/examples/internal/browserclient"
	"github.com/twine-realtime/twine/twine"
)

//go:embed page
var files embed.FS

const (
	maxNameLetters = 20
	maxPeople      = 200 // more cursors than that are no help to anybody
)

// Hello is what a client says first, as the event "join".
type Hello struct {
	Name string `json:"name"`
}

// Welcome is the answer to Hello: who the client is, and who else is there.
type Welcome struct {
	You    Person   `json:"you"`
	Others []Person `json:"others"`
}

// Person is someone with a cursor. A client gets a Person with "joined", and the ID alone with "left".
type Person struct {
	ID    string `json:"id"`
	Name  string `json:"name"`
	Color int    `json:"color"` // a hue, in degrees
}

// Point is where a cursor is, in parts of the board's width and height, from 0 to 1. A client sends it with "move".
type Point struct {
	X float64 `json:"x"`
	Y float64 `json:"y"`
}

// Move is a Point of someone else's, with "moved".
type Move struct {
	ID string `json:"id"`
	Point
}

// board is the place where the cursors are.
type board struct {
	realtime *twine.Server
	mu       sync.Mutex
	people   map[string]Person // by the socket's id
	arrived  int               // all that ever were
}

func newBoard() *board {
	b := &board{realtime: twine.NewServer(nil), people: map[string]Person{}}
	b.realtime.OnConnect(func(s *twine.Socket) {
		// The argument of each event is decoded into the handler's type; what the handler returns is the acknowledgement.
		twine.On(s, "join", func(_ context.Context, hello Hello) (Welcome, error) { return b.join(s, hello) })
		twine.OnEvent(s, "move", func(_ context.Context, to Point) error { return b.move(s, to) })
	})
	b.realtime.OnDisconnect(func(s *twine.Socket, _ string) { b.leave(s) })
	return b
}

func (b *board) join(s *twine.Socket, hello Hello) (Welcome, error) {
	if hello.Name == "" || utf8.RuneCountInString(hello.Name) > maxNameLetters {
		return Welcome{}, &twine.AckError{Message: "a name has 1 to 20 letters"}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, again := b.people[s.ID()]; again {
		return Welcome{}, &twine.AckError{Message: "you have joined already"}
	}
	if len(b.people) >= maxPeople {
		return Welcome{}, &twine.AckError{Message: "the board is full"}
	}
	const goldenAngle = 137 // degrees: the hues of those who come after each other are far apart
	you := Person{ID: s.ID(), Name: hello.Name, Color: b.arrived * goldenAngle % 360}
	others := make([]Person, 0, len(b.people))
	for _, p := range b.people {
		others = append(others, p)
	}
	slices.SortFunc(others, func(p, q Person) int { return cmp.Compare(p.Name, q.Name) })
	b.people[s.ID()] = you
	b.arrived++
	// Under the lock, so that nobody is told of the same person twice or not at all.
	if err := s.To("board").Emit("joined", you); err != nil {
		return Welcome{}, err
	}
	s.Join("board")
	return Welcome{you, others}, nil
}

// move is volatile: whose connection is busy gets the next position instead, and not all in between, late.
func (b *board) move(s *twine.Socket, to Point) error {
	if to.X < 0 || to.X > 1 || to.Y < 0 || to.Y > 1 || !slices.Contains(s.Rooms(), "board") {
		return &twine.AckError{Message: "not a place on the board, or not joined"}
	}
	return s.To("board").Volatile().Emit("moved", Move{s.ID(), to})
}

func (b *board) leave(s *twine.Socket) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, joined := b.people[s.ID()]; joined {
		delete(b.people, s.ID())
		_ = b.realtime.To("board").Emit("left", s.ID()) // a text can always be sent
	}
}

func (b *board) routes() http.Handler {
	page, err := fs.Sub(files, "page")
	if err != nil {
		panic(err) // the folder is embedded above
	}
	mux := http.NewServeMux()
	mux.Handle("/socket.io/", b.realtime)
	mux.HandleFunc("GET /client.js", browserclient.Serve)
	mux.Handle("/", http.FileServerFS(page))
	return mux
}
