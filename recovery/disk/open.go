package disk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/twine-realtime/twine/recovery"
)

// ErrLocked means that another process has the file open.
var ErrLocked = errors.New("in use by another process")

// CorruptError means that a file is damaged, or not one of this package. It
// matches recovery.ErrCorrupt.
type CorruptError struct {
	Path   string
	Reason error
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("history file %s is damaged: %v", e.Path, e.Reason)
}

// Is makes every CorruptError match recovery.ErrCorrupt.
func (e *CorruptError) Is(target error) bool { return target == recovery.ErrCorrupt }

func (e *CorruptError) Unwrap() error { return e.Reason }

// Open opens the file, or creates it and the folder it is in. Its errors match
// ErrLocked, recovery.ErrCorrupt (as *CorruptError), or the system's, such as
// fs.ErrPermission. Only one Store can have a file open.
func Open(path string, opts Options) (*Store, error) {
	opts = opts.withDefaults()
	s, err := open(path, opts)
	var damage *CorruptError
	if !opts.Quarantine || !errors.As(err, &damage) {
		return s, err
	}
	aside, err := quarantine(path, opts)
	if err != nil {
		return nil, errors.Join(damage, err)
	}
	opts.Logger.Error("recovery: a damaged history file was moved out of the way; clients that were away will be told of a gap",
		"path", path, "moved_to", aside, "error", damage.Reason)
	return open(path, opts)
}

func quarantine(path string, opts Options) (aside string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if err := lock(f, opts.LockTimeout); err != nil {
		return "", err
	}
	aside = fmt.Sprintf("%s.corrupt-%d", path, opts.Now().UnixMilli())
	return aside, os.Rename(path, aside)
}

func open(path string, opts Options) (*Store, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("failed to make the folder of the history file: %w", err)
	}
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		err = create(path, opts)
	}
	if err != nil {
		return nil, fmt.Errorf("failed to create the history file: %w", err)
	}
	doubtful, err := examine(path, opts)
	if err != nil {
		return nil, err
	}
	db, err := openDB(path, opts)
	if err != nil {
		return nil, err
	}
	s := &Store{path: path, opts: opts, db: db, entries: make(chan *op, maxQueuedOps),
		states: make(chan *op, maxQueuedOps), stop: make(chan struct{})}
	err = s.load()
	if err == nil {
		var damaged bool
		switch damaged, err = s.loadIndexes(); {
		case err != nil:
		case doubtful:
			err = s.breakHistory("one of its two headers; the last commit may be lost")
		case damaged:
			err = s.breakHistory("entries of the segment that was being written")
		}
	}
	if err != nil {
		err = errors.Join(err, db.Close())
		if errors.Is(err, recovery.ErrCorrupt) {
			return nil, &CorruptError{Path: path, Reason: err}
		}
		return nil, fmt.Errorf("failed to read the history file %s: %w", path, err)
	}
	removeLeftovers(path)
	s.log, s.sessions = &Log{store: s}, &Sessions{store: s}
	s.open.Store(2)
	s.running.Go(s.commitLoop)
	s.running.Go(s.maintain)
	return s, nil
}

// openDB opens a file that exists.
func openDB(path string, opts Options) (db *bbolt.DB, err error) {
	var file *os.File
	bolt := &bbolt.Options{
		Timeout:        opts.LockTimeout,
		FreelistType:   bbolt.FreelistMapType,
		NoFreelistSync: true,
		NoStatistics:   true,
		MaxSize:        int(min(opts.MaxBytes, math.MaxInt)),
		OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
			f, err := os.OpenFile(name, flag&^os.O_CREATE, mode)
			file = f
			return f, err
		},
	}
	if math.MaxInt > math.MaxInt32 && runtime.GOOS != "windows" {
		// Address space only. Growing the map would have to wait for readers.
		bolt.InitialMmapSize = 1 << 30
	}
	err = guard(func() error {
		db, err = bbolt.Open(path, 0o600, bolt)
		return err
	})
	switch {
	case err == nil:
		return db, nil
	case errors.Is(err, berrors.ErrTimeout):
		return nil, fmt.Errorf("history file %s: %w", path, ErrLocked)
	case errors.Is(err, recovery.ErrCorrupt), errors.Is(err, berrors.ErrInvalid),
		errors.Is(err, berrors.ErrChecksum), errors.Is(err, berrors.ErrVersionMismatch):
		// After a panic bbolt has not let go of the file.
		if file != nil {
			_ = file.Close()
		}
		return nil, &CorruptError{Path: path, Reason: err}
	}
	return nil, fmt.Errorf("failed to open the history file: %w", err)
}

// create makes an empty store under another name first, so that a file of the
// right name always was a complete one: an empty or short one has been damaged.
func create(path string, opts Options) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+leftover)
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if err := f.Close(); err != nil {
		return err
	}
	db, err := bbolt.Open(f.Name(), 0o600, &bbolt.Options{Timeout: opts.LockTimeout})
	if err != nil {
		return err
	}
	err = initialise(db, recovery.OffsetAt(opts.Now()))
	if err = errors.Join(err, db.Close()); err != nil {
		return err
	}
	// A link, unlike a rename, does not replace the file of a process that did
	// the same at the same time.
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		if err := os.Rename(f.Name(), path); err != nil {
			return err
		}
	}
	return syncDir(filepath.Dir(path))
}

const leftover = ".new-*"

// removeLeftovers removes what a creation that was cut short left behind.
func removeLeftovers(path string) {
	names, _ := filepath.Glob(path + leftover)
	for _, name := range names {
		_ = os.Remove(name)
	}
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if runtime.GOOS == "windows" {
		err = nil // folders cannot be synced there, and need not be
	}
	return errors.Join(err, d.Close())
}

// examine looks at the file before bbolt maps it: reading past the end of a
// truncated file would end the process.
//
// There are two headers, written in turns, and bbolt makes do with one. But a
// header is written at once and found whole after every kind of crash, so if
// one is damaged it may have been the newer: doubtful says so.
func examine(path string, opts Options) (doubtful bool, err error) {
	f, err := os.Open(path)
	if err != nil {
		return false, fmt.Errorf("failed to open the history file: %w", err)
	}
	defer f.Close()
	if err := lock(f, opts.LockTimeout); err != nil {
		return false, fmt.Errorf("history file %s: %w", path, err)
	}
	info, err := f.Stat()
	if err != nil {
		return false, fmt.Errorf("failed to open the history file: %w", err)
	}
	damaged := func(format string, args ...any) error {
		return &CorruptError{Path: path, Reason: fmt.Errorf(format, args...)}
	}
	if !info.Mode().IsRegular() {
		return false, fmt.Errorf("history file %s is not a regular file", path)
	}
	var newest bboltMeta
	valid := 0
	for size := int64(1 << 9); size <= 1<<16; size <<= 1 {
		for page := range int64(2) {
			m, err := readMeta(f, page*size)
			if err != nil || int64(m.pageSize) != size {
				continue
			}
			valid++
			if newest.pageSize == 0 || m.txid > newest.txid {
				newest = m
			}
		}
	}
	if newest.pageSize == 0 {
		return false, damaged("%d bytes without a valid header", info.Size())
	}
	if want := newest.pages * uint64(newest.pageSize); uint64(info.Size()) < want {
		return false, damaged("truncated: %d of at least %d bytes are there", info.Size(), want)
	}
	if newest.pages > math.MaxInt64>>16 {
		return false, damaged("%d pages", newest.pages)
	}
	walk := newPageWalk(f, int(newest.pageSize), newest.pages)
	if newest.freelist == noFreelist {
		err = walk.bucket(newest.root)
	} else {
		err = walk.freelist(newest.freelist)
	}
	if errors.Is(err, recovery.ErrCorrupt) {
		return false, damaged("%w", err)
	} else if err != nil {
		return false, err
	}
	return valid < 2, nil
}

// bboltMeta is bbolt's header, of which there are two.
type bboltMeta struct {
	pageSize       uint32
	root, freelist uint64 // pages
	pages          uint64 // how many are in use
	txid           uint64
}

func readMeta(r io.ReaderAt, at int64) (m bboltMeta, err error) {
	const pageHeader, metaSize, magic = 16, 64, 0xED0CDAED
	var page [pageHeader + metaSize]byte
	if _, err := r.ReadAt(page[:], at); err != nil {
		return m, err
	}
	meta := page[pageHeader:]
	sum := fnv.New64a()
	_, _ = sum.Write(meta[:metaSize-8])
	order := binary.NativeEndian
	if order.Uint32(meta) != magic || order.Uint64(meta[metaSize-8:]) != sum.Sum64() {
		return m, berrors.ErrChecksum
	}
	return bboltMeta{
		pageSize: order.Uint32(meta[8:]), root: order.Uint64(meta[16:]), freelist: order.Uint64(meta[32:]),
		pages: order.Uint64(meta[40:]), txid: order.Uint64(meta[48:]),
	}, nil
}
