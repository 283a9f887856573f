package disk

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"

	"go.etcd.io/bbolt"

	"github.com/twine-realtime/twine/recovery"
)

// pageWalk checks that the pages of a bbolt file make up trees. bbolt does the
// same when it opens a file that was not closed in order, but on a goroutine of
// its own, where what it does about a damaged page, panic, ends the process.
type pageWalk struct {
	file     io.ReaderAt
	pageSize int
	pages    uint64 // as many as the file has in use
	seen     []uint64

	window   []byte // pages that were read ahead
	windowAt uint64 // the first of them
}

const (
	pageHeader  = 16
	pageElement = 16
	branchPage  = 1
	leafPage    = 2
	freePage    = 16
	bucketEntry = 1
	noFreelist  = ^uint64(0)
)

func newPageWalk(file io.ReaderAt, pageSize int, pages uint64) *pageWalk {
	return &pageWalk{file: file, pageSize: pageSize, pages: pages, seen: make([]uint64, pages/64+1)}
}

// walkTx checks the pages that a transaction sees, of the file it belongs to.
func walkTx(tx *bbolt.Tx, file io.ReaderAt) error {
	pageSize := tx.DB().Info().PageSize
	w := newPageWalk(file, pageSize, uint64(tx.Size())/uint64(pageSize))
	return w.bucket(uint64(tx.Cursor().Bucket().RootPage()))
}

func damagedPage(id uint64, format string, args ...any) error {
	return fmt.Errorf("%w page %d: %s", recovery.ErrCorrupt, id, fmt.Sprintf(format, args...))
}

func (w *pageWalk) bucket(root uint64) error {
	_, err := w.page(root, nil, nil, 0)
	return err
}

// page checks a page and those below it. Its keys have to be from low on and
// below high (nil: no such bound). It returns the greatest.
func (w *pageWalk) page(id uint64, low, high []byte, depth int) (last []byte, err error) {
	const deepest = 64
	if depth > deepest {
		return nil, damagedPage(id, "too deep a tree")
	}
	page, err := w.read(id)
	if err != nil {
		return nil, err
	}
	return w.elements(id, page, low, high, depth)
}

// read returns a page with its overflow, and makes sure that it is read once.
func (w *pageWalk) read(id uint64) ([]byte, error) {
	if id < 2 || id >= w.pages {
		return nil, damagedPage(id, "out of bounds")
	}
	page, err := w.fetch(id)
	if err != nil {
		return nil, err
	}
	if own := binary.NativeEndian.Uint64(page); own != id {
		return nil, damagedPage(id, "calls itself %d", own)
	}
	overflow := uint64(binary.NativeEndian.Uint32(page[12:]))
	if overflow >= w.pages-id {
		return nil, damagedPage(id, "%d pages long", overflow)
	}
	for p := id; p <= id+overflow; p++ {
		if w.seen[p/64]&(1<<(p%64)) != 0 {
			return nil, damagedPage(p, "referred to twice")
		}
		w.seen[p/64] |= 1 << (p % 64)
	}
	if overflow > 0 {
		page = append(make([]byte, 0, (overflow+1)*uint64(w.pageSize)), page...)
		page = page[:cap(page)]
		if _, err := w.file.ReadAt(page[w.pageSize:], int64(id+1)*int64(w.pageSize)); err != nil {
			return nil, fmt.Errorf("failed to read page %d: %w", id+1, err)
		}
	}
	return page, nil
}

// fetch reads a page and some that follow it, which are often the next ones to
// be asked for. What it returned remains valid.
func (w *pageWalk) fetch(id uint64) ([]byte, error) {
	size := uint64(w.pageSize)
	if id < w.windowAt || (id-w.windowAt+1)*size > uint64(len(w.window)) {
		const ahead = 16
		w.window, w.windowAt = make([]byte, min(ahead, w.pages-id)*size), id
		if _, err := w.file.ReadAt(w.window, int64(id*size)); err != nil {
			return nil, fmt.Errorf("failed to read page %d: %w", id, err)
		}
	}
	at := (id - w.windowAt) * size
	return w.window[at : at+size : at+size], nil
}

func (w *pageWalk) elements(id uint64, page, low, high []byte, depth int) (last []byte, err error) {
	order := binary.NativeEndian
	kind, n := order.Uint16(page[8:]), int(order.Uint16(page[10:]))
	if kind != branchPage && kind != leafPage || pageHeader+n*pageElement > len(page) || kind == branchPage && n == 0 {
		return nil, damagedPage(id, "kind %d with %d elements", kind, n)
	}
	element := func(i int) (key, rest, header []byte) {
		at := pageHeader + i*pageElement
		header = page[at : at+pageElement]
		var from, size uint64
		if kind == branchPage {
			from, size = uint64(order.Uint32(header)), uint64(order.Uint32(header[4:]))
		} else {
			from, size = uint64(order.Uint32(header[4:])), uint64(order.Uint32(header[8:]))
		}
		from += uint64(at)
		if from+size > uint64(len(page)) || from < uint64(pageHeader+n*pageElement) {
			return nil, nil, nil
		}
		return page[from : from+size], page[from+size:], header
	}
	last = low
	for i := range n {
		key, rest, header := element(i)
		if header == nil {
			return nil, damagedPage(id, "element %d out of bounds", i)
		}
		if c := bytes.Compare(key, last); last != nil && (c < 0 || c == 0 && i > 0) || high != nil && bytes.Compare(key, high) >= 0 {
			return nil, damagedPage(id, "element %d out of order", i)
		}
		last = key
		switch {
		case kind == branchPage:
			next := high
			if i+1 < n {
				if next, _, header = element(i + 1); header == nil {
					return nil, damagedPage(id, "element %d out of bounds", i+1)
				}
			}
			child := order.Uint64(page[pageHeader+i*pageElement+8:])
			if last, err = w.page(child, key, next, depth+1); err != nil {
				return nil, err
			}
		case uint64(order.Uint32(header[12:])) > uint64(len(rest)):
			return nil, damagedPage(id, "element %d out of bounds", i)
		case order.Uint32(header)&bucketEntry != 0:
			if err := w.child(id, rest[:order.Uint32(header[12:])], depth); err != nil {
				return nil, err
			}
		}
	}
	return last, nil
}

// child checks a bucket within a bucket: its root page, or the page in its value.
func (w *pageWalk) child(id uint64, value []byte, depth int) error {
	const bucketHeader = 16
	if len(value) < bucketHeader {
		return damagedPage(id, "a bucket of %d bytes", len(value))
	}
	if root := binary.NativeEndian.Uint64(value); root != 0 {
		_, err := w.page(root, nil, nil, depth+1)
		return err
	}
	inline := value[bucketHeader:]
	if len(inline) < pageHeader || binary.NativeEndian.Uint16(inline[8:]) != leafPage {
		return damagedPage(id, "a bucket that is not a leaf")
	}
	_, err := w.elements(id, inline, nil, nil, depth+1)
	return err
}

// freelist checks the list of free pages of a file that was closed in order.
func (w *pageWalk) freelist(id uint64) error {
	page, err := w.read(id)
	if err != nil {
		return err
	}
	order := binary.NativeEndian
	ids, n := page[pageHeader:], uint64(order.Uint16(page[10:]))
	if n == 0xFFFF {
		// So many that the number is where the first would be.
		n, ids = order.Uint64(ids), ids[8:]
	}
	if order.Uint16(page[8:]) != freePage || n > uint64(len(ids)/8) {
		return damagedPage(id, "not a list of free pages")
	}
	last := uint64(1)
	for i := range n {
		free := order.Uint64(ids[8*i:])
		if free <= last || free >= w.pages || free == id {
			return damagedPage(id, "page %d cannot be free", free)
		}
		last = free
	}
	return nil
}
