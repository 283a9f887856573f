package twine_test

import (
	"fmt"
	"regexp"
	"runtime"
	"testing"

	"github.com/twine-realtime/twine/twine"
	"github.com/twine-realtime/twine/twine/engineio"
	"github.com/twine-realtime/twine/twine/parser"
)

// manyNamespaces is how many namespaces one connection asks for.
const manyNamespaces = 10_000

// heap returns the bytes that are in use.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func expectHeap(t *testing.T, before, limit int64) {
	t.Helper()
	var more int64
	defer func() {
		if more > limit {
			t.Errorf("%d bytes are held, want at most %d", more, limit)
		}
	}()
	eventually(t, "memory is given back", func() bool { more = heap() - before; return more <= limit })
}

// askForAll asks for many namespaces while it counts the answers.
func askForAll(t *testing.T, c *testClient, name func(i int) string) (joined int, refusals map[string]int) {
	t.Helper()
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		for i := range manyNamespaces {
			c.send("0" + name(i) + ",")
		}
	}()
	refusals = make(map[string]int)
	for range manyNamespaces {
		switch p := c.next(); p.Type {
		case parser.Connect:
			joined++
		case parser.ConnectError:
			refusals[string(p.Data)]++
		default:
			t.Fatalf("got %s", describe(p))
		}
	}
	<-asked
	return joined, refusals
}

// Of the namespaces that one connection asks for it gets as many as MaxNamespaces says by default, each of which it may
// use, and all of them go with it.
func TestTenThousandNamespaces(t *testing.T) {
	const limit = 1000
	srv := serve(t, &twine.Options{CleanupEmptyChildNamespaces: true})
	parent := srv.OfPattern(regexp.MustCompile(`^/dynamic-\d+$`))
	onSync(parent)
	before := heap()
	c := dial(t, srv)
	joined, refusals := askForAll(t, c, func(i int) string { return fmt.Sprintf("/dynamic-%d", i) })
	if joined != limit || refusals[`{"message":"too many namespaces"}`] != manyNamespaces-limit {
		t.Errorf("%d were joined, refused were %v", joined, refusals)
	}
	if n := len(parent.Children()); n != limit {
		t.Errorf("there are %d namespaces", n)
	}
	c.send(`2/dynamic-0,1["sync"]`)
	c.expect("3/dynamic-0,1[]")
	expectHeap(t, before, 10<<20)
	c.cut()
	eventually(t, "they are gone", func() bool { return len(parent.Children()) == 0 })
	expectHeap(t, before, 2<<20)
}

// Namespaces that don't exist leave nothing behind on the server.
func TestTenThousandUnknownNamespaces(t *testing.T) {
	srv := serve(t, nil)
	onSync(srv)
	before := heap()
	c := dial(t, srv)
	c.join("/", "")
	joined, refusals := askForAll(t, c, func(i int) string { return fmt.Sprintf("/unknown-%d", i) })
	if joined != 0 || refusals[`{"message":"Invalid namespace"}`] != manyNamespaces {
		t.Errorf("%d were joined, refused were %v", joined, refusals)
	}
	c.sync()
	expectHeap(t, before, 2<<20)
}

// A client that joins and leaves for ever, with another name each time, holds no more than one that does so once.
func TestTenThousandNamespacesOneAfterTheOther(t *testing.T) {
	srv := serve(t, &twine.Options{CleanupEmptyChildNamespaces: true})
	parent := srv.OfPattern(regexp.MustCompile(`^/dynamic-\d+$`))
	c := dial(t, srv)
	before := heap()
	for i := range manyNamespaces {
		name := fmt.Sprintf("/dynamic-%d", i)
		c.join(name, "")
		c.send("1" + name + ",")
	}
	eventually(t, "they are gone", func() bool { return len(parent.Children()) == 0 })
	expectHeap(t, before, 2<<20)
}

// A client that asks and does not read the refusals is closed when MaxQueueBytes of them wait.
func TestRefusalsThatAreNotRead(t *testing.T) {
	srv := serve(t, &twine.Options{Engine: engineio.Options{MaxQueueBytes: 100_000}})
	reading := make(chan struct{})
	c := dialWith(t, srv, nil, func(*testClient, *parser.Packet) { <-reading })
	if c == nil {
		t.FailNow()
	}
	t.Cleanup(func() { close(reading); c.cut() })
	before := heap()
	eventually(t, "the connection is closed", func() bool {
		for range 1000 {
			c.send("0/unknown-namespace-with-a-name-that-is-long-enough-to-fill-the-buffers-of-the-kernel-soon,")
		}
		return srv.Engine().ClientsCount() == 0
	})
	expectHeap(t, before, 10<<20)
}
