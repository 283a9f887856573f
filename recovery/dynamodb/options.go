package dynamodb

import (
	"context"
	"errors"
	"log/slog"
	"time"

	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/twine-realtime/twine/recovery"
)

// What a Store answers beside the errors of package recovery. Match with
// errors.Is.
var (
	// ErrTooLarge means that an entry or a session is larger than can be stored.
	// It will not get smaller: over HTTP it is a 413. Nothing was written.
	ErrTooLarge = errors.New("too large to be stored")
	// ErrLate means that an entry of a shared log was stored only after a reader
	// may have passed its offset. It is not accepted, and has to be published
	// anew, under a new offset.
	ErrLate = errors.New("stored too late")
	// ErrUnsettled means that what comes after a position of a shared log may
	// still be under way. It is not a gap, and is worth trying again soon.
	ErrUnsettled = errors.New("history is not settled yet")
	// ErrNoTable means that the table is not there.
	ErrNoTable = errors.New("table does not exist")
	// ErrTable means that there is a table of that name, and that its keys are
	// not those of a Store.
	ErrTable = errors.New("table has other keys")
)

// API is what a Store calls. *dynamodb.Client of aws-sdk-go-v2 has it. Each call
// is made with a deadline; the client's own retries are turned off for it.
type API interface {
	BatchWriteItem(context.Context, *ddb.BatchWriteItemInput, ...func(*ddb.Options)) (*ddb.BatchWriteItemOutput, error)
	BatchGetItem(context.Context, *ddb.BatchGetItemInput, ...func(*ddb.Options)) (*ddb.BatchGetItemOutput, error)
	GetItem(context.Context, *ddb.GetItemInput, ...func(*ddb.Options)) (*ddb.GetItemOutput, error)
	PutItem(context.Context, *ddb.PutItemInput, ...func(*ddb.Options)) (*ddb.PutItemOutput, error)
	UpdateItem(context.Context, *ddb.UpdateItemInput, ...func(*ddb.Options)) (*ddb.UpdateItemOutput, error)
	DeleteItem(context.Context, *ddb.DeleteItemInput, ...func(*ddb.Options)) (*ddb.DeleteItemOutput, error)
	Query(context.Context, *ddb.QueryInput, ...func(*ddb.Options)) (*ddb.QueryOutput, error)
	CreateTable(context.Context, *ddb.CreateTableInput, ...func(*ddb.Options)) (*ddb.CreateTableOutput, error)
	DescribeTable(context.Context, *ddb.DescribeTableInput, ...func(*ddb.Options)) (*ddb.DescribeTableOutput, error)
	DescribeTimeToLive(context.Context, *ddb.DescribeTimeToLiveInput, ...func(*ddb.Options)) (*ddb.DescribeTimeToLiveOutput, error)
	UpdateTimeToLive(context.Context, *ddb.UpdateTimeToLiveInput, ...func(*ddb.Options)) (*ddb.UpdateTimeToLiveOutput, error)
}

var _ API = (*ddb.Client)(nil)

// Options of a Store. The zero value is useful.
type Options struct {
	// Table is its name. Empty: "twine".
	Table string
	// Window is how long entries are kept. Zero: 24 h. The shortest one of the
	// processes that write to a namespace counts for all.
	Window time.Duration
	// Hold is how long a session that is not stored again is held. Zero:
	// recovery.DefaultHold.
	Hold time.Duration

	// Shared lets several processes append to a namespace, in any order; see the
	// package documentation. All processes of a table must agree.
	Shared bool
	// CommitDelay is, for a shared log, how old an offset is when readers take
	// it that all before it have arrived. An append that takes longer may fail
	// with ErrLate. It has to be longer than clocks differ. Zero: 30 s.
	CommitDelay time.Duration
	// ClockSkew is, for a shared log, by how much the clocks that assign offsets
	// may be ahead. A new table begins so much after now. Zero: 2 s.
	ClockSkew time.Duration

	// MaxEntryBytes bounds the stored form of an entry; past it Append fails with
	// ErrTooLarge. Zero: 4 MiB.
	MaxEntryBytes int
	// What may wait to be written, beyond what is being written. Past it Append
	// waits. Zero: 4,096 items, 32 MiB.
	MaxQueued, MaxQueuedBytes int
	// MaxWait is how long an item waits for others to fill its batch while
	// other batches are under way; when none is, it does not wait. Zero: 5 ms.
	MaxWait time.Duration
	// Writers is how many BatchWriteItem calls run at once, and as many calls
	// that write idempotency keys. Zero: 8.
	Writers int
	// Readers is how many Query calls run at once. Zero: 32.
	Readers int

	// CallTimeout is how long one attempt of a call may take. Zero: 3 s.
	CallTimeout time.Duration
	// Timeout is how long a call is tried again before its operation fails,
	// unless the context ends earlier. Zero: 10 s.
	Timeout time.Duration
	// Backoff is the longest pause before the first retry; it doubles with each,
	// up to 32 times itself, and the real pause is a random part of it. Zero:
	// 25 ms.
	Backoff time.Duration

	Now    func() time.Time // nil: time.Now
	Logger *slog.Logger     // nil: slog.Default
}

func (o Options) withDefaults() Options {
	if o.Table == "" {
		o.Table = "twine"
	}
	setDefault(&o.Window, 24*time.Hour)
	setDefault(&o.Hold, recovery.DefaultHold)
	setDefault(&o.CommitDelay, 30*time.Second)
	setDefault(&o.ClockSkew, 2*time.Second)
	setDefault(&o.MaxEntryBytes, 4<<20)
	setDefault(&o.MaxQueued, 4096)
	setDefault(&o.MaxQueuedBytes, 32<<20)
	setDefault(&o.MaxWait, 5*time.Millisecond)
	setDefault(&o.Writers, 8)
	setDefault(&o.Readers, 32)
	setDefault(&o.CallTimeout, 3*time.Second)
	setDefault(&o.Timeout, 10*time.Second)
	setDefault(&o.Backoff, 25*time.Millisecond)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return o
}

func setDefault[T int | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}
