package source_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/lightclient/source"
	"github.com/confab-chat/confab/namesvc/wire"
)

func TestNewHTTP_TakesBaseURLsOnly(t *testing.T) {
	for _, good := range []string{"https://example.org", "http://127.0.0.1:7780", "https://example.org/confab/", "http://[::1]:80"} {
		h, err := source.NewHTTP(good, nil)
		if err != nil || h.Name() != strings.TrimSuffix(good, "/") {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"", "example.org", "example.org:80", "ftp://example.org", "https://", "https:///x", "file:///etc/passwd",
		"https://user:pass@example.org", "https://example.org?x=1", "https://example.org?", "https://example.org#x", "https://example.org#",
		"https://exa mple.org", "https://example.org\n", "unix:/run/x", "https://%zz", "\x1b[2J"} {
		if _, err := source.NewHTTP(bad, nil); wire.CodeOf(err) != wire.Invalid {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// carrier answers requests without a network, as in a browser's tests.
type carrier func(*http.Request) (*http.Response, error)

func (c carrier) RoundTrip(r *http.Request) (*http.Response, error) { return c(r) }

func TestHTTP_WorksOverAnyTransport(t *testing.T) {
	h, err := source.NewHTTP("https://example.org/names/", &http.Client{Transport: carrier(func(r *http.Request) (*http.Response, error) {
		if got := r.URL.String(); got != "https://example.org/names/v1/bundle?chain=1" {
			return nil, errors.New("asked for " + got)
		}
		return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader([]byte("bytes")))}, nil
	})})
	if err != nil {
		t.Fatal(err)
	}
	b, err := h.Bundle(t.Context(), lightclient.Request{Chain: true})
	if err != nil || string(b) != "bytes" {
		t.Errorf("%q, %v", b, err)
	}
}
