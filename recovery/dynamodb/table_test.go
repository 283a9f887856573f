//go:build dynamodb

package dynamodb_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/recovery/dynamodb"
)

func deleteTable(t *testing.T, api *ddb.Client, name string) {
	t.Helper()
	if _, err := api.DeleteTable(ctx, &ddb.DeleteTableInput{TableName: &name}); err != nil {
		t.Fatal(err)
	}
	until(t, "the table is gone", func() bool {
		_, err := api.DescribeTable(ctx, &ddb.DescribeTableInput{TableName: &name})
		return err != nil
	})
}

func TestCreateTable(t *testing.T) {
	api := client(server(t).address())
	opts := dynamodb.Options{Table: "created", Logger: quiet}
	if _, err := dynamodb.Open(ctx, api, opts); !errors.Is(err, dynamodb.ErrNoTable) {
		t.Errorf("opening a table that is missing: %v", err)
	}
	for range 2 {
		if err := dynamodb.CreateTable(ctx, api, opts); err != nil {
			t.Fatal(err)
		}
	}
	opts.Table = "other"
	_, err := api.CreateTable(ctx, &ddb.CreateTableInput{
		TableName: &opts.Table, BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String("p"), AttributeType: types.ScalarAttributeTypeS}},
		KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String("p"), KeyType: types.KeyTypeHash}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := dynamodb.CreateTable(ctx, api, opts); !errors.Is(err, dynamodb.ErrTable) {
		t.Errorf("a table with other keys: %v", err)
	}
	if _, err := dynamodb.Open(ctx, api, opts); !errors.Is(err, dynamodb.ErrTable) {
		t.Errorf("a table with other keys: %v", err)
	}
}

// A table that is lost is an error as long as it is missing, and once it has
// been made anew what was in it is a gap, for the process that knew it and for
// one that did not.
func TestLostTable(t *testing.T) {
	for _, shared := range []bool{false, true} {
		t.Run(fmt.Sprint("shared ", shared), func(t *testing.T) {
			api := client(server(t).address())
			opts := sharedOptions(newTable(t, api))
			opts.Shared, opts.CommitDelay = shared, time.Millisecond
			log := openStore(t, api, opts).Log()
			start, err := log.Start(ctx, "/")
			if err != nil {
				t.Fatal(err)
			}
			until(t, "the log begins", func() bool { return recovery.OffsetAt(time.Now()).After(start) })
			var offsets assigner
			put := func() (o recovery.Offset) {
				t.Helper()
				o = offsets.next()
				if err := log.Append(ctx, "/", []recovery.Entry{{Offset: o, ID: o.String(), Data: []byte(`["x"]`)}}); err != nil {
					t.Fatal(err)
				}
				return o
			}
			position := put()
			until(t, "it can be read", func() bool {
				page, err := log.Read(ctx, "/", recovery.Query{After: start, Through: position})
				return err == nil && len(page.Entries) == 1
			})
			put() // what is lost to a reader at position
			deleteTable(t, api, opts.Table)
			q := recovery.Query{After: position, Through: offsets.next()}
			if _, err := log.Read(ctx, "/", q); !errors.Is(err, dynamodb.ErrNoTable) || errors.Is(err, recovery.ErrGap) {
				t.Errorf("reading a table that is missing: %v", err)
			}
			if err := log.Append(ctx, "/", []recovery.Entry{{Offset: offsets.next(), Data: []byte(`["x"]`)}}); !errors.Is(err, dynamodb.ErrNoTable) {
				t.Errorf("appending to a table that is missing: %v", err)
			}
			if err := dynamodb.CreateTable(ctx, api, opts); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if _, err := log.Read(ctx, "/", q); !errors.Is(err, recovery.ErrGap) {
					t.Errorf("reading from before the table: %v", err)
				}
			}
			other := openStore(t, api, opts).Log()
			if _, err := other.Read(ctx, "/", q); !errors.Is(err, recovery.ErrGap) {
				t.Errorf("reading from before the table in another process: %v", err)
			}
			if !shared {
				log = other
			}
			// Service goes on.
			last, err := log.Last(ctx, "/")
			if err != nil {
				t.Fatal(err)
			}
			until(t, "the log begins", func() bool { return recovery.OffsetAt(time.Now()).After(last) })
			o := put()
			until(t, "it can be read", func() bool {
				page, err := log.Read(ctx, "/", recovery.Query{After: last, Through: o})
				return err == nil && len(page.Entries) == 1
			})
		})
	}
}

// An append during which the table is replaced fails, and Last says so.
func TestTableReplacedDuringAppend(t *testing.T) {
	d := server(t)
	p := newProxy(t, d)
	api := client(p.address())
	opts := quick(newTable(t, api))
	log := openStore(t, api, opts).Log()
	last, err := log.Last(ctx, "/")
	if err != nil {
		t.Fatal(err)
	}
	direct := client(d.address())
	p.set(func(c *call) *answer {
		if c.op == "UpdateItem" && c.n == 2 {
			deleteTable(t, direct, opts.Table)
			if err := dynamodb.CreateTable(ctx, direct, opts); err != nil {
				t.Error(err)
			}
		}
		return c.forward()
	})
	e := recovery.Entry{Offset: recovery.OffsetAt(time.Now().Add(time.Second)), Data: []byte(`["x"]`)}
	if err := log.Append(ctx, "/", []recovery.Entry{e}); err == nil {
		t.Error("an entry was accepted that went into a table that is gone")
	}
	p.set(nil)
	if got, err := log.Last(ctx, "/"); err != nil || !got.Before(e.Offset) || got.Before(last) {
		t.Errorf("last is %v: %v", got, err)
	}
	if err := log.Append(ctx, "/", []recovery.Entry{e}); err != nil {
		t.Error(err)
	}
}

func TestTooLarge(t *testing.T) {
	api := client(server(t).address())
	opts := quick(newTable(t, api))
	opts.MaxEntryBytes = 1 << 20
	store := openStore(t, api, opts)
	last, err := store.Log().Last(ctx, "/")
	if err != nil {
		t.Fatal(err)
	}
	e := recovery.Entry{Offset: last.Next(), Data: make([]byte, 1<<20)}
	if err := store.Log().Append(ctx, "/", []recovery.Entry{e}); !errors.Is(err, dynamodb.ErrTooLarge) {
		t.Errorf("append: %v", err)
	}
	if again, err := store.Log().Last(ctx, "/"); err != nil || again != last {
		t.Errorf("last is %v: %v", again, err)
	}
	st := recovery.State{PID: "p", Rooms: []string{strings.Repeat("r", 500_000)}}
	if err := store.Sessions().Create(ctx, st, "t"); !errors.Is(err, dynamodb.ErrTooLarge) {
		t.Errorf("create: %v", err)
	}
}

// Entries that have had their time are a gap, whether they were deleted or not;
// and a window that is made longer promises nothing for what was written before.
func TestWindow(t *testing.T) {
	api := client(server(t).address())
	now := time.Now()
	opts := quick(newTable(t, api))
	opts.Window, opts.Now = time.Hour, func() time.Time { return now }
	store := openStore(t, api, opts)
	log := store.Log()
	start, err := log.Start(ctx, "/")
	if err != nil {
		t.Fatal(err)
	}
	put := func() recovery.Offset {
		t.Helper()
		now = now.Add(10 * time.Minute)
		o := recovery.OffsetAt(now)
		if err := log.Append(ctx, "/", []recovery.Entry{{Offset: o, ID: o.String(), Data: []byte(`["x"]`)}}); err != nil {
			t.Fatal(err)
		}
		return o
	}
	first := put()
	put()
	last := put()
	if n := len(readAll(t, log, recovery.Query{After: start})); n != 3 {
		t.Fatalf("%d entries", n)
	}
	now = now.Add(45 * time.Minute)
	if _, err := log.Read(ctx, "/", recovery.Query{After: first}); !errors.Is(err, recovery.ErrGap) {
		t.Errorf("after an hour: %v", err)
	}
	_ = store.Close()
	opts.Window = 24 * time.Hour
	store = openStore(t, api, opts)
	log = store.Log()
	if _, err := log.Read(ctx, "/", recovery.Query{After: first}); !errors.Is(err, recovery.ErrGap) {
		t.Errorf("with a longer window: %v", err)
	}
	// Who has read the newest has missed nothing, however long ago that was.
	now = now.Add(1000 * time.Hour)
	page, err := log.Read(ctx, "/", recovery.Query{After: last})
	if err != nil || len(page.Entries) != 0 || page.Next != last {
		t.Errorf("after the newest: %+v, %v", page, err)
	}
	if found, err := log.Lookup(ctx, "/", []string{last.String()}); err != nil || len(found) != 0 {
		t.Errorf("a key is still known: %v, %v", found, err)
	}
}

// A page over many rooms has the right entries, and reads little ahead.
func TestManyRooms(t *testing.T) {
	api := client(server(t).address())
	store := openStore(t, api, quick(newTable(t, api)))
	log := store.Log()
	start, err := log.Start(ctx, "/")
	if err != nil {
		t.Fatal(err)
	}
	const n, all = 40, 600
	var batch []recovery.Entry
	for o := start; len(batch) < all; {
		o = o.Next()
		i := len(batch)
		e := recovery.Entry{Offset: o, Data: fmt.Appendf(nil, "[%d]", i)}
		if i%7 > 0 {
			e.Rooms = []string{fmt.Sprint("room", i%n), fmt.Sprint("room", i*i%n)}
		}
		batch = append(batch, e)
	}
	if err := log.Append(ctx, "/", batch); err != nil {
		t.Fatal(err)
	}
	q := recovery.Query{After: start, Limit: 100}
	for i := range n {
		q.Rooms = append(q.Rooms, fmt.Sprint("room", i))
	}
	got := readAll(t, log, q)
	if len(got) != all {
		t.Fatalf("%d entries", len(got))
	}
	for i := range got {
		if got[i].Offset != batch[i].Offset {
			t.Fatalf("entry %d is %v, want %v", i, got[i].Offset, batch[i].Offset)
		}
	}
}

// An entry of which a part is gone is a gap.
func TestDamage(t *testing.T) {
	api := client(server(t).address())
	table := newTable(t, api)
	store := openStore(t, api, quick(table))
	log := store.Log()
	start, err := log.Start(ctx, "/")
	if err != nil {
		t.Fatal(err)
	}
	whole := recovery.Entry{Offset: start.Next(), Rooms: rooms, Data: []byte(`["x"]`)}
	referred := recovery.Entry{Offset: whole.Offset.Next(), Rooms: rooms, Data: fmt.Appendf(nil, "[%q]", strings.Repeat("x", 3000))}
	last := recovery.Entry{Offset: referred.Offset.Next(), Rooms: rooms, Data: []byte(`["x"]`)}
	if err := log.Append(ctx, "/", []recovery.Entry{whole, referred, last}); err != nil {
		t.Fatal(err)
	}
	_, err = api.DeleteItem(ctx, &ddb.DeleteItemInput{TableName: &table, Key: map[string]types.AttributeValue{
		"p": &types.AttributeValueMemberS{Value: "r:/:r0"},
		"o": &types.AttributeValueMemberB{Value: referred.Offset.AppendKey(nil)},
	}})
	if err != nil {
		t.Fatal(err)
	}
	q := recovery.Query{After: start, Rooms: []string{"r1"}}
	page, err := log.Read(ctx, "/", q)
	if err != nil || len(page.Entries) != 1 || !page.More || page.Next != whole.Offset {
		t.Errorf("%+v, %v", page, err)
	}
	q.After = page.Next
	var gap *recovery.GapError
	if _, err := log.Read(ctx, "/", q); !errors.As(err, &gap) || !errors.Is(err, recovery.ErrCorrupt) || gap.To != referred.Offset {
		t.Errorf("reading what is damaged: %v", err)
	}
	q.After = referred.Offset
	if page, err := log.Read(ctx, "/", q); err != nil || len(page.Entries) != 1 {
		t.Errorf("reading on: %+v, %v", page, err)
	}
}
