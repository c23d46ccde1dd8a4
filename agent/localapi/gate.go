package localapi

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/confab-chat/confab/namesvc/wire"
)

// tokenFile holds the token of the HTTP API, 64 hexadecimal digits.
const tokenFile = "api.token"

// loadToken returns the token of an account's home, a new one if there is none.
// It stays the same, so that whoever was given it keeps it; deleting the file
// takes it from all.
func loadToken(home string) (string, error) {
	path := filepath.Join(home, tokenFile)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return ReadToken(home)
	}
	if err != nil {
		return "", fmt.Errorf("make token: %w", err)
	}
	var b [32]byte
	rand.Read(b[:])
	token := hex.EncodeToString(b[:])
	_, err = f.WriteString(token + "\n")
	if err := errors.Join(err, f.Close()); err != nil {
		return "", fmt.Errorf("make token: %w", err)
	}
	return token, nil
}

// ReadToken returns the token with which an account's agent is reached over HTTP.
func ReadToken(home string) (string, error) {
	path := filepath.Join(home, tokenFile)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", wire.Errorf(wire.NotFound, "%s is not there: confab agent run --http makes it", path)
	}
	if err != nil {
		return "", fmt.Errorf("read token: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return "", wire.Errorf(wire.Invalid, "%s can be read by others: delete it, and a new token is made", path)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read token: %w", err)
	}
	token := strings.TrimSpace(string(b))
	if raw, err := hex.DecodeString(token); err != nil || len(raw) != 32 {
		return "", wire.Errorf(wire.Invalid, "%s does not hold a token: delete it, and a new one is made", path)
	}
	return token, nil
}

// A gate decides who gets in over HTTP.
type gate struct {
	token   [sha256.Size]byte // its hash, so that comparing takes as long for any guess
	hosts   []string          // names by which this machine may be called
	origins []string          // of web pages that are let in
}

func newGate(token string, at *net.TCPAddr, origins []string) *gate {
	port := strconv.Itoa(at.Port)
	return &gate{
		token:   sha256.Sum256([]byte(token)),
		hosts:   []string{at.String(), "localhost:" + port, "127.0.0.1:" + port, "[::1]:" + port},
		origins: origins,
	}
}

// admit decides about a request, and reports whether it is answered already. A
// web page may be made to call this machine by a name of its own, and then its
// requests are, to the browser, not from elsewhere: so the name must be one of
// ours. A page that was let in may ask the browser's question before.
func (g *gate) admit(w http.ResponseWriter, r *http.Request) (done bool, err error) {
	if !slices.Contains(g.hosts, r.Host) {
		return false, wire.Errorf(wire.Unauthorized, "this machine is not called %.60q here", r.Host)
	}
	if origin := r.Header.Get("Origin"); origin != "" {
		if !slices.Contains(g.origins, origin) {
			return false, wire.Errorf(wire.Unauthorized, "pages of %.100q are not let in; confab agent run --origin lets them", origin)
		}
		h := w.Header()
		h.Set("Access-Control-Allow-Origin", origin)
		h.Add("Vary", "Origin")
		if r.Method == http.MethodOptions {
			h.Set("Access-Control-Allow-Methods", "GET, POST")
			h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type")
			h.Set("Access-Control-Max-Age", "600")
			w.WriteHeader(http.StatusNoContent)
			return true, nil
		}
	}
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	sum := sha256.Sum256([]byte(token))
	if subtle.ConstantTimeCompare(sum[:], g.token[:]) != 1 {
		return false, wire.Errorf(wire.Unauthorized, "the token is missing or wrong: it is in %s in the account's folder", tokenFile)
	}
	// A form of a page can send no JSON without asking first.
	if r.Method == http.MethodPost && !strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") {
		return false, wire.Errorf(wire.Invalid, "the Content-Type must be application/json")
	}
	return false, nil
}
