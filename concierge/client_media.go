package concierge

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream/chunk"
)

// HTTP returns a client for plain requests to the concierge, such as downloads and
// those of a light client at [Client.ChainURL]. It takes the certificate that the
// concierge had when it proved itself on this connection, or else one that the
// machine's authorities vouch for. It goes the same way as the connection.
func (c *Client) HTTP() *http.Client { return c.plain() }

func (c *Client) newHTTP() *http.Client {
	return &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext: steadily(c.way.by, c.way.idle), MaxIdleConnsPerHost: 4, IdleConnTimeout: 30 * time.Second, TLSHandshakeTimeout: handshakeTime, ResponseHeaderTimeout: patience,
			TLSClientConfig: &tls.Config{
				InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"},
				VerifyConnection: func(s tls.ConnectionState) error { return known(s, c.way.cert) },
			},
		},
	}
}

// steadily returns a dialer of connections that end when nothing has passed in
// either direction for a while: whoever fetches a large file waits as long as it
// comes, and no longer.
func steadily(by dialer, idle time.Duration) dialer {
	if by == nil {
		by = new(net.Dialer).DialContext
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := by(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &steady{conn, idle}, nil
	}
}

type steady struct {
	net.Conn
	idle time.Duration
}

// Read implements net.Conn. Whichever direction goes on keeps the other alive.
func (s *steady) Read(p []byte) (int, error) {
	s.SetDeadline(time.Now().Add(s.idle))
	return s.Conn.Read(p)
}

// Write implements net.Conn.
func (s *steady) Write(p []byte) (int, error) {
	s.SetDeadline(time.Now().Add(s.idle))
	return s.Conn.Write(p)
}

// known returns an error unless a server shows the certificate's key that it should,
// or a certificate that the machine believes.
func known(s tls.ConnectionState, key []byte) error {
	leaf := s.PeerCertificates[0]
	if bytes.Equal(leaf.RawSubjectPublicKeyInfo, key) {
		return nil
	}
	o := x509.VerifyOptions{DNSName: s.ServerName, Intermediates: x509.NewCertPool()}
	for _, c := range s.PeerCertificates[1:] {
		o.Intermediates.AddCert(c)
	}
	_, err := leaf.Verify(o)
	return err
}

// ChainURL is the base URL of the concierge's gateway to the chain, for package
// lightclient/source.
func (c *Client) ChainURL() string { return c.way.base + chainBase }

// An Upload is a file to be kept.
type Upload struct {
	ID   chunk.ID
	Size uint64
	TTL  time.Duration // 0: as long as the concierge keeps files
	Keep bool          // for good, as part of the vault
}

// Upload has a file kept: what of it is there already is not sent again, so it is
// safe to repeat and goes on where another attempt stopped. It returns when the
// file will be let go of, zero for never. Errors: kind Exhausted if the account's
// or the concierge's room is used up; Conflict if the file is being uploaded on
// another connection, or source says so; Unavailable: try again.
func (c *Client) Upload(ctx context.Context, u Upload, source io.ReaderAt) (until time.Time, err error) {
	var a putAnswer
	if err := c.ask(ctx, opPut, putBody{ID: u.ID, Size: u.Size, TTL: uint64(u.TTL.Seconds()), Keep: u.Keep}, &a); err != nil {
		return until, err
	}
	if a.Until != 0 {
		until = time.Unix(int64(a.Until), 0)
	}
	if a.Here {
		return until, nil
	}
	if a.Offset > u.Size {
		return until, wire.Errorf(wire.Invalid, "concierge has %d bytes of a file of %d", a.Offset, u.Size)
	}
	body := &section{r: io.NewSectionReader(source, int64(a.Offset), int64(u.Size-a.Offset))}
	r, err := http.NewRequestWithContext(ctx, http.MethodPut, c.way.base+"/v1/media/"+u.ID.String(), body)
	if err != nil {
		return until, err
	}
	r.ContentLength = int64(u.Size - a.Offset)
	if r.ContentLength == 0 {
		r.Body = http.NoBody
	}
	r.Header.Set("Authorization", "Bearer "+base64.RawURLEncoding.EncodeToString(a.Ticket))
	r.Header.Set(offsetHeader, strconv.FormatUint(a.Offset, 10))
	res, err := c.HTTP().Do(r)
	if body.err != nil {
		return until, body.err // why the request ended
	}
	if err != nil {
		return until, wire.Errorf(wire.Unavailable, "upload file: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusNoContent {
		return until, failed(res)
	}
	return until, nil
}

// section is a body that remembers why its source failed.
type section struct {
	r   io.Reader
	err error
}

// Read implements io.Reader.
func (s *section) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

// failed reads the error of an answer.
func failed(res *http.Response) error {
	b, err := io.ReadAll(io.LimitReader(res.Body, 4*maxText))
	code, text := readProblem(b)
	if err != nil || text == "" {
		return wire.Errorf(wire.Unavailable, "concierge answers with status %d", res.StatusCode)
	}
	return wire.Errorf(code, "concierge: %s", lightclient.Printable(text))
}

// Unpin lets go of a file of this account. Others who pinned it keep it.
func (c *Client) Unpin(ctx context.Context, id chunk.ID) error {
	return c.ask(ctx, opUnpin, idBody{ID: id}, nil)
}

// Pins returns the files that are kept for this account, and its quotas.
func (c *Client) Pins(ctx context.Context) (Pins, error) {
	var p Pins
	return p, c.ask(ctx, opPins, struct{}{}, &p)
}

// Media returns what reads files that this concierge has; a guest may too.
func (c *Client) Media() *Media { return &Media{http: c.HTTP(), base: c.way.base} }

// Media reads files that a concierge has. What comes is whatever the concierge says:
// package talk/media checks it against the id.
type Media struct {
	http *http.Client
	base string
}

// Leaves returns the leaves of a file of a sealed size, to be checked by whoever
// opens it. The error is of kind NotFound if the concierge does not have the file.
func (m *Media) Leaves(ctx context.Context, id chunk.ID, size uint64) ([]byte, error) {
	if size == 0 || size > chunk.MaxLength {
		return nil, wire.Errorf(wire.Invalid, "file of %d bytes: 1 to %d are allowed", size, uint64(chunk.MaxLength))
	}
	body, err := m.get(ctx, id, "/leaves", 0, 0)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	b := make([]byte, chunk.Count(size)*chunk.HashSize)
	if _, err := io.ReadFull(body, b); err != nil {
		return nil, wire.Errorf(wire.Unavailable, "read leaves of a file: %w", err)
	}
	return b, nil
}

// Read returns the sealed bytes of a file from an offset on. The caller closes
// them.
func (m *Media) Read(ctx context.Context, id chunk.ID, offset uint64) (io.ReadCloser, error) {
	return m.get(ctx, id, "", offset, 0)
}

// get asks for a file from an offset on, for so many bytes; 0: to its end.
func (m *Media) get(ctx context.Context, id chunk.ID, what string, offset, length uint64) (io.ReadCloser, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, m.base+"/v1/media/"+id.String()+what, nil)
	if err != nil {
		return nil, fmt.Errorf("read file: %w", err)
	}
	want := http.StatusOK
	if offset > 0 || length > 0 {
		ranges := "bytes=" + strconv.FormatUint(offset, 10) + "-"
		if length > 0 {
			ranges += strconv.FormatUint(offset+length-1, 10)
		}
		r.Header.Set("Range", ranges)
		want = http.StatusPartialContent
	}
	res, err := m.http.Do(r)
	if err != nil {
		return nil, wire.Errorf(wire.Unavailable, "read file: %w", err)
	}
	if res.StatusCode != want {
		defer res.Body.Close()
		return nil, failed(res)
	}
	return res.Body, nil
}

// At returns the sealed bytes of a file as an io.ReaderAt: a request for each read.
func (m *Media) At(ctx context.Context, id chunk.ID) io.ReaderAt { return mediaAt{ctx, m, id} }

type mediaAt struct {
	ctx   context.Context
	media *Media
	id    chunk.ID
}

// ReadAt implements io.ReaderAt.
func (a mediaAt) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, wire.Errorf(wire.Invalid, "read file: the offset %d is negative", off)
	}
	if len(p) == 0 {
		return 0, nil
	}
	body, err := a.media.get(a.ctx, a.id, "", uint64(off), uint64(len(p)))
	if err != nil {
		return 0, err
	}
	defer body.Close()
	n, err := io.ReadFull(body, p)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	return n, err
}
