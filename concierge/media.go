package concierge

import (
	"context"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/confab-chat/confab/concierge/blob"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
	"github.com/confab-chat/confab/stream/chunk"
)

const (
	// ticketTime is how long a ticket begins uploads; a device asks for another
	// whenever it goes on. It is also how long a device that was removed may.
	ticketTime = 15 * time.Minute
	// leastSpeed is how many bytes in a second a client must take or give on
	// average, so that a few connections cannot hold all places for ever.
	leastSpeed = 8 << 10
	// patience is how long it may take beyond that.
	patience = time.Minute
	// readRate and readBurst are the files that one network may ask for: a gallery
	// at once, and then as fast as people look at pictures.
	readRate  = 20
	readBurst = 500
	// mediaBurst is how many seconds' worth of the rate of files may come at once: a
	// picture is there without any waiting.
	mediaBurst = 4
	// sweepPause is between looks at one shard after the other: all of them take
	// about ten minutes.
	sweepPause = 2 * time.Second
	// maxTicket is the most bytes of a ticket.
	maxTicket = 256
)

// slowest returns how long a client may take for so many bytes.
func slowest(bytes int64) time.Duration {
	return patience + time.Duration(bytes/leastSpeed)*time.Second
}

// allow gives a client time to take an answer of so many bytes.
func allow(w http.ResponseWriter, bytes int64) {
	http.NewResponseController(w).SetWriteDeadline(time.Now().Add(slowest(bytes)))
}

// TagTicket: what a concierge knows its own upload tickets by. It is the info of
// HKDF, so that servers with one key share it.
const TagTicket wire.Tag = "confab/concierge-upload/1\n"

// The bodies of requests about media.
type (
	putBody struct {
		_    struct{} `cbor:",toarray"`
		ID   chunk.ID
		Size uint64
		TTL  uint64 // seconds; 0: as long as the concierge keeps files
		Keep bool   // for good, in the vault
	}
	putAnswer struct {
		_      struct{} `cbor:",toarray"`
		Here   bool     // nothing is left to do
		Until  uint64
		Offset uint64 // where the upload goes on
		Ticket []byte
	}
	idBody struct {
		_  struct{} `cbor:",toarray"`
		ID chunk.ID
	}
	// Pins is what an account has here of files, and what it may have.
	Pins struct {
		_          struct{} `cbor:",toarray"`
		List       []Pin
		Media      uint64 // bytes of files that expire
		MediaLimit uint64
		Vault      uint64 // bytes of files that the vault keeps
		VaultLimit uint64
	}
)

// A pass is what an upload ticket says: whoever has it may upload one file for one
// owner.
type pass struct {
	_     struct{} `cbor:",toarray"`
	Owner Owner
	ID    chunk.ID
	Size  uint64
	Until uint64 // Unix seconds
}

// A ticketer makes and checks tickets. It prints as a placeholder.
type ticketer struct{ secret []byte }

func newTicketer(k key.Server) (ticketer, error) {
	seed := k.Seed()
	b, err := hkdf.Key(sha256.New, seed[:], nil, string(TagTicket), sha256.Size)
	return ticketer{b}, err
}

// String keeps the secret out of logs.
func (ticketer) String() string { return "ticket key" }

func (t ticketer) sum(b []byte) []byte {
	m := hmac.New(sha256.New, t.secret)
	m.Write(b)
	return m.Sum(nil)
}

func (t ticketer) make(v pass) []byte {
	b := wire.Encode(v)
	return append(t.sum(b), b...)
}

// errTicket says why an upload is not taken; which of the reasons it is, the
// client knows.
var errTicket error = wire.Errorf(wire.Unauthorized, "upload ticket is not valid here, or not any more: ask for a new one on the connection")

func (t ticketer) check(b []byte, now time.Time) (v pass, err error) {
	if len(b) < sha256.Size || len(b) > maxTicket || !hmac.Equal(t.sum(b[sha256.Size:]), b[:sha256.Size]) {
		return v, errTicket
	}
	if err := wire.Decode(b[sha256.Size:], &v, maxTicket); err != nil || v.Until < uint64(now.Unix()) {
		return v, errTicket
	}
	return v, nil
}

var errNoMedia error = wire.Errorf(wire.Unavailable, "this concierge keeps no files")

// doMedia does what a device asks for its account's files. The owner is held.
func (s *Server) doMedia(ctx context.Context, c *session, r request) (any, error) {
	if s.media == nil {
		return nil, errNoMedia
	}
	switch r.Op {
	case opPut:
		b, err := decodeBody[putBody](r)
		if err != nil {
			return nil, err
		}
		return s.put(ctx, c, b)
	case opUnpin:
		b, err := decodeBody[idBody](r)
		if err != nil {
			return nil, err
		}
		if err := s.unpin(ctx, c.owner, b.ID); err != nil {
			return nil, err
		}
		return struct{}{}, s.media.Release(b.ID, blob.Owner(c.owner))
	default: // opPins
		p, err := s.present(ctx, c.owner)
		if err != nil {
			return nil, err
		}
		out := Pins{MediaLimit: s.limits.MediaBytes, VaultLimit: s.limits.VaultMediaBytes}
		for _, pin := range p.List {
			if pin.counts(s.now()) {
				out.List = append(out.List, pin)
			}
		}
		out.Media, out.Vault = pins{List: out.List}.used()
		return out, nil
	}
}

// put keeps a file that is here, or makes room and gives a ticket for it.
func (s *Server) put(ctx context.Context, c *session, b putBody) (any, error) {
	if !c.listed {
		return nil, wire.Errorf(wire.Unauthorized, "the account names another concierge now: upload files there")
	}
	if b.Size == 0 || b.Size > s.limits.MediaBlob {
		return nil, wire.Errorf(wire.Invalid, "file has %d bytes: 1 to %d are allowed", b.Size, s.limits.MediaBlob)
	}
	now := s.now()
	want := Pin{ID: b.ID, Size: b.Size, Begun: uint64(now.Unix())}
	if !b.Keep {
		longest := uint64(s.limits.MediaTTL / time.Second)
		want.Until = uint64(now.Unix()) + min(or(b.TTL, longest), longest)
	}
	pin, err := s.promise(ctx, c.owner, want)
	if err != nil {
		s.figures.refused.WithLabelValues("media").Inc()
		return nil, err
	}
	here, err := s.media.Hold(b.ID, blob.Owner(c.owner), b.Size)
	if err == nil && here != (pin.Begun == 0) {
		err = s.arrived(ctx, c.owner, b.ID, here)
	}
	if err == nil && here {
		return putAnswer{Here: true, Until: pin.Until, Offset: b.Size}, nil
	}
	var at uint64
	if err == nil {
		at, err = s.media.Offset(b.ID, blob.Owner(c.owner), b.Size)
	}
	if err == nil {
		err = s.media.Room(b.Size - at)
	}
	if err != nil {
		return nil, errors.Join(err, s.dropPromise(ctx, c.owner, b.ID)) // it takes no room that it does not get
	}
	t := pass{Owner: c.owner, ID: b.ID, Size: b.Size, Until: uint64(now.Add(ticketTime).Unix())}
	return putAnswer{Until: pin.Until, Offset: at, Ticket: s.tickets.make(t)}, nil
}

// The header that says where an upload goes on, as in the IETF's draft of
// resumable uploads.
const offsetHeader = "Upload-Offset"

// upload serves PUT /v1/media/{id}: the bytes of a file from an offset on.
func (s *Server) upload(w http.ResponseWriter, r *http.Request) {
	at, size, err := s.receive(w, r)
	result := "whole"
	switch {
	case err != nil:
		result = wire.CodeOf(err).String()
	case at < size:
		result = "part"
	}
	s.figures.uploads.WithLabelValues(result).Inc()
	var other *blob.OffsetError
	if errors.As(err, &other) {
		w.Header().Set(offsetHeader, strconv.FormatUint(other.Offset, 10))
	}
	switch {
	case err != nil:
		w.Header().Set("Connection", "close") // what follows is the rest of the body
		s.fail(w, r, err)
	case at < size:
		w.Header().Set(offsetHeader, strconv.FormatUint(at, 10))
		w.WriteHeader(http.StatusAccepted)
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}

// receive takes the body of an upload.
func (s *Server) receive(w http.ResponseWriter, r *http.Request) (at, size uint64, err error) {
	leave, err := s.enter(remoteHost(r))
	if err != nil {
		return 0, 0, err
	}
	defer leave()
	if s.media == nil {
		return 0, 0, errNoMedia
	}
	id, err := chunk.ParseID(r.PathValue("id"))
	if err != nil {
		return 0, 0, err
	}
	text, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return 0, 0, errTicket
	}
	t, err := s.tickets.check(raw, s.now())
	if err != nil || t.ID != id {
		return 0, 0, errTicket
	}
	offset, err := strconv.ParseUint(or(r.Header.Get(offsetHeader), "0"), 10, 63)
	if err != nil {
		return 0, 0, wire.Errorf(wire.Invalid, "%s is no number", offsetHeader)
	}
	if err := s.promised(r.Context(), t); err != nil {
		return 0, 0, err
	}
	http.NewResponseController(w).SetReadDeadline(time.Now().Add(slowest(int64(t.Size))))
	body := http.MaxBytesReader(w, r.Body, int64(t.Size)+1) // one more shows a lie
	slowed := s.incoming.pace(r.Context(), keyOf(remoteHost(r)), body)
	if at, err = s.media.Receive(id, blob.Owner(t.Owner), t.Size, offset, slowed); err != nil {
		if code := wire.CodeOf(err); code == wire.Invalid || code == wire.Exhausted {
			err = errors.Join(err, s.withdraw(t))
		}
		return at, t.Size, err
	}
	if at == t.Size {
		err = s.took(t)
	}
	return at, t.Size, err
}

// promised returns an error unless there is room for what a ticket is for.
func (s *Server) promised(ctx context.Context, t pass) error {
	p, _, err := readPins(ctx, s.store, t.Owner)
	if err != nil && !errors.Is(err, stream.ErrNotFound) {
		return err
	}
	if i := p.find(t.ID); i < 0 || !p.List[i].counts(s.now()) || p.List[i].Size != t.Size {
		return errUnpinned
	}
	return nil
}

// took writes down that a file is here. It is not the request's to break off.
func (s *Server) took(t pass) error {
	ctx, cancel := context.WithTimeout(s.ctx, askTime)
	defer cancel()
	defer s.hold(t.Owner)()
	err := s.arrived(ctx, t.Owner, t.ID, true)
	if wire.CodeOf(err) == wire.NotFound {
		return errors.Join(err, s.media.Release(t.ID, blob.Owner(t.Owner)))
	}
	return err
}

// withdraw gives back the room of an upload that failed for good.
func (s *Server) withdraw(t pass) error {
	ctx, cancel := context.WithTimeout(s.ctx, askTime)
	defer cancel()
	defer s.hold(t.Owner)()
	return s.dropPromise(ctx, t.Owner, t.ID)
}

// download serves GET /v1/media/{id}, the sealed file, and GET
// /v1/media/{id}/leaves, what its ranges are checked against. Whoever knows the
// id may: it is a hash, and in nobody's list.
func (s *Server) download(w http.ResponseWriter, r *http.Request, part func(*blob.Blob) *io.SectionReader) {
	leave, err := s.enter(remoteHost(r))
	if err != nil {
		s.fail(w, r, err)
		return
	}
	defer leave()
	if err := s.read(w, r, part); err != nil {
		s.fail(w, r, err)
	}
}

func (s *Server) read(w http.ResponseWriter, r *http.Request, part func(*blob.Blob) *io.SectionReader) error {
	if s.media == nil {
		return errNoMedia
	}
	id, err := chunk.ParseID(r.PathValue("id"))
	if err != nil {
		return err
	}
	if !s.reads.take(keyOf(remoteHost(r)), 1, s.now()) {
		s.figures.refused.WithLabelValues("reads").Inc()
		return wire.Errorf(wire.Exhausted, "too many files for your network at once: slow down")
	}
	b, err := s.media.Get(id)
	if err != nil {
		return err
	}
	defer b.Close()
	content := part(b)
	// One range is a part of a file; several are a way to have one sent many times.
	if strings.Contains(r.Header.Get("Range"), ",") {
		r.Header.Del("Range")
	}
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Cache-Control", "public, max-age=604800, immutable")
	h.Set("Content-Disposition", "attachment")
	h.Set("Content-Security-Policy", "sandbox; default-src 'none'")
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Cross-Origin-Resource-Policy", "cross-origin")
	h.Set("ETag", `"`+id.String()+`"`)
	h.Set("X-Content-Type-Options", "nosniff")
	allow(w, content.Size())
	s.figures.downloads.Inc()
	http.ServeContent(w, r, "", time.Time{}, pacedSeeker{s.outgoing.pace(r.Context(), keyOf(remoteHost(r)), content), content})
	return nil
}

// sweep looks at all files again and again, some at a time, and lets go of those
// that nobody pins.
func (s *Server) sweep(ctx context.Context) {
	tick := time.NewTicker(sweepPause)
	defer tick.Stop()
	for ctx.Err() == nil {
		all, keeper := blob.Swept{}, s.newKeeper(ctx)
		for shard := range blob.Shards {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			found, err := s.sweepShard(byte(shard), keeper)
			if err != nil && ctx.Err() == nil {
				s.logger.Warn("files whose time is over stay until the next look", "error", err)
			}
			all.Blobs, all.Bytes = all.Blobs+found.Blobs, all.Bytes+found.Bytes
		}
		s.figures.mediaBytes.Store(all.Bytes)
		s.figures.mediaFiles.Store(all.Blobs)
	}
}

// sweepShard looks at one of the shards, and with the first at uploads too.
func (s *Server) sweepShard(shard byte, k *keeper) (blob.Swept, error) {
	if shard == 0 {
		if err := s.media.SweepIncoming(k.keeps); err != nil {
			return blob.Swept{}, err
		}
	}
	found, err := s.media.Sweep(shard, k.keeps)
	s.figures.expired.Add(float64(found.Gone))
	if err != nil {
		err = fmt.Errorf("sweep media: %w", err)
	}
	return found, err
}
