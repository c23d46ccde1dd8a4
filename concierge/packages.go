package concierge

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"

	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
)

// PackageCount is how a device's KeyPackages stand. Device and concierge count
// alike: what was given out and never shows up in a Welcome is the device's
// reason to ask.
type PackageCount struct {
	_        struct{} `cbor:",toarray"`
	Uploaded uint64   // one-time packages, ever
	Given    uint64   // up to which of them were given out
	Last     bool     // there is one of last resort
}

// forgetPackages lets go of a removed device's KeyPackages. The packages go
// before the count of those given out, so that none is ever counted anew.
func forgetPackages(ctx context.Context, store stream.Keeper, o Owner, device key.Public) error {
	for _, what := range []byte{keptPackages, keptTaken, keptLast} {
		if err := store.Delete(ctx, o.kept(what, &device)); err != nil {
			return err
		}
	}
	return nil
}

// given returns up to which of a device's packages were given out.
func given(ctx context.Context, store stream.Log, id stream.ID) (uint64, stream.Head, error) {
	body, head, err := newest(ctx, store, id)
	if err != nil || body == nil {
		return 0, head, err
	}
	if len(body) != 8 {
		return 0, head, errors.New("count of key packages is damaged")
	}
	return binary.BigEndian.Uint64(body), head, nil
}

func countPackages(ctx context.Context, store stream.Log, o Owner, device key.Public) (PackageCount, error) {
	var c PackageCount
	state, err := store.State(ctx, o.kept(keptPackages, &device))
	if err == nil {
		c.Uploaded = state.Head.Seq
		c.Given, _, err = given(ctx, store, o.kept(keptTaken, &device))
	}
	if err != nil && !errors.Is(err, stream.ErrNotFound) {
		return c, err
	}
	last, _, err := newest(ctx, store, o.kept(keptLast, &device))
	if errors.Is(err, stream.ErrNotFound) {
		err = nil
	}
	c.Last = last != nil
	return c, err
}

// uploadPackages adds one-time packages and, unless it is empty, replaces the
// one of last resort. A package that was uploaded before is not added again.
func uploadPackages(ctx context.Context, store stream.Store, o Owner, device key.Public, once [][]byte, last []byte) (PackageCount, error) {
	size := len(last)
	for _, p := range append([][]byte{last}, once...) {
		if size += len(p); len(p) > MaxPackage {
			return PackageCount{}, wire.Errorf(wire.Invalid, "key package has %d bytes: at most %d are allowed", len(p), MaxPackage)
		}
	}
	if len(once) > MaxPackages || size > maxUpload+len(last) {
		return PackageCount{}, wire.Errorf(wire.Invalid, "request has %d key packages with %d bytes: at most %d with %d are allowed in one", len(once), size, MaxPackages, maxUpload)
	}
	if err := makePackages(ctx, store, o, device); err != nil {
		return PackageCount{}, err
	}
	c, err := countPackages(ctx, store, o, device)
	if err != nil {
		return c, err
	}
	if waiting := c.Uploaded - min(c.Given, c.Uploaded); waiting+uint64(len(once)) > MaxPackages {
		return c, wire.Errorf(wire.Exhausted, "%d key packages wait already: at most %d may", waiting, MaxPackages)
	}
	for _, p := range once {
		if len(p) == 0 {
			return c, wire.Errorf(wire.Invalid, "key package is empty")
		}
		sum := sha256.Sum256(p)
		if _, err := stream.Append(ctx, store, o.kept(keptPackages, &device), stream.Message{ID: stream.MessageID(sum[:16]), Body: p}); err != nil {
			return c, err
		}
	}
	if len(last) > 0 {
		id := o.kept(keptLast, &device)
		_, head, err := newest(ctx, store, id)
		if err == nil {
			_, err = replace(ctx, store, id, head, newMessageID(), last)
		}
		if err != nil {
			return c, err
		}
	}
	return countPackages(ctx, store, o, device)
}

// makePackages makes a device's streams if they are not there. A count without
// packages is what an interrupted forgetPackages left; it must not be taken for
// that of the new ones.
func makePackages(ctx context.Context, store stream.Store, o Owner, device key.Public) error {
	_, err := store.State(ctx, o.kept(keptPackages, &device))
	if !errors.Is(err, stream.ErrNotFound) {
		return err
	}
	if err := forgetPackages(ctx, store, o, device); err != nil {
		return err
	}
	for _, what := range []byte{keptTaken, keptLast} {
		if err := store.Configure(ctx, o.kept(what, &device), stream.Settings{}); err != nil {
			return err
		}
	}
	return store.Configure(ctx, o.kept(keptPackages, &device), stream.Settings{TTL: keepPackage})
}

var errSpent error = wire.Errorf(wire.Exists, "this work was used already: do new work")

// takePackage returns one KeyPackage of a device and whether it is the one of
// last resort. That a one-time package is given out is durable before it is, so
// it is given to nobody else, whatever crashes; a crash in between loses it. m
// is spent by it: the same m gets nothing more.
func takePackage(ctx context.Context, store stream.Store, o Owner, device key.Public, m stream.MessageID) ([]byte, bool, error) {
	packages, taken := o.kept(keptPackages, &device), o.kept(keptTaken, &device)
	for range maxTries {
		n, head, err := given(ctx, store, taken)
		if err != nil {
			return nil, false, noPackages(err)
		}
		page, err := store.Range(ctx, packages, n, 1)
		if err != nil {
			return nil, false, noPackages(err)
		}
		if len(page.Entries) == 0 {
			last, _, err := newest(ctx, store, o.kept(keptLast, &device))
			if err == nil && last == nil {
				err = stream.ErrNotFound
			}
			return last, true, noPackages(err)
		}
		n = page.After + 1
		again, err := replace(ctx, store, taken, head, m, binary.BigEndian.AppendUint64(nil, n))
		var moved *stream.HeadError
		switch {
		case errors.As(err, &moved):
			continue // somebody else took it
		case errors.Is(err, stream.ErrReused) || again:
			return nil, false, errSpent
		case err != nil:
			return nil, false, err
		}
		if err := store.Trim(ctx, packages, n); err != nil {
			return nil, false, err
		}
		return page.Entries[0].Body, false, nil
	}
	return nil, false, errBusy
}

func noPackages(err error) error {
	if errors.Is(err, stream.ErrNotFound) {
		return wire.Errorf(wire.NotFound, "concierge has no key package of this device: it was never here, or must come online first")
	}
	return err
}
