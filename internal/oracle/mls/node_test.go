package mls_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/confab-chat/confab/talk/mls"
)

// installTimeout bounds npm ci: 60 MB.
const installTimeout = 5 * time.Minute

// installed brings node/node_modules into being, once per run of the tests.
var installed = sync.OnceValue(func() error {
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			return err
		}
	}
	lock, err := os.ReadFile("node/package-lock.json")
	if err != nil {
		return err
	}
	// npm ci leaves a half-filled folder when it is killed; the stamp says that
	// it came to its end, with this lock file.
	stamp := filepath.Join("node", "node_modules", ".installed")
	if done, err := os.ReadFile(stamp); err == nil && bytes.Equal(done, lock) {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), installTimeout)
	defer cancel()
	c := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	c.Dir = "node"
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("npm ci: %w\n%s", err, out)
	}
	return os.WriteFile(stamp, lock, 0o644)
})

// needNode skips the test without node or npm, and fails it in CI.
func needNode(t testing.TB) {
	t.Helper()
	if err := installed(); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("the oracles in node/ are needed in CI: %v", err)
		}
		t.Skipf("without the oracles in node/: %v", err)
	}
}

// child is a script in node/ that answers one line of JSON with another.
type child struct {
	in  io.WriteCloser
	out *bufio.Reader
}

func startChild(t testing.TB, script string, args ...string) *child {
	t.Helper()
	needNode(t)
	c := exec.Command("node", append([]string{"--no-warnings", script}, args...)...)
	c.Dir = "node"
	var said bytes.Buffer
	c.Stderr = &said
	in, err := c.StdinPipe()
	noError(t, err)
	out, err := c.StdoutPipe()
	noError(t, err)
	noError(t, c.Start())
	t.Cleanup(func() {
		in.Close() // the child ends with its input
		if err := c.Wait(); err != nil {
			t.Logf("%s: %v\n%s", script, err, said.String())
		}
	})
	return &child{in, bufio.NewReaderSize(out, 1<<20)}
}

// errOracle is an oracle's own refusal, not a broken pipe.
var errOracle = errors.New("oracle")

func (c *child) call(op string, args map[string]any, answer any) error {
	if args == nil {
		args = map[string]any{}
	}
	args["op"] = op
	b, err := json.Marshal(args)
	if err != nil {
		return err
	}
	if _, err := c.in.Write(append(b, '\n')); err != nil {
		return err
	}
	line, err := c.out.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("read answer to %s: %w", op, err)
	}
	var status struct {
		OK    bool
		Error string
	}
	if err := json.Unmarshal(line, &status); err != nil {
		return err
	}
	if !status.OK {
		return fmt.Errorf("%w: %s: %s", errOracle, op, status.Error)
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(line, answer)
}

// tsClient runs ts-mls in a child.
type tsClient struct {
	*child
	identity string
}

func newTSClient(c *child, identity string, suite mls.CipherSuite) (*tsClient, error) {
	t := &tsClient{c, hex.EncodeToString([]byte(identity))}
	return t, t.call("client", map[string]any{"identity": t.identity, "suite": uint16(suite)}, nil)
}

// tsAnswer is what the child says.
type tsAnswer struct {
	Group, Message, Welcome, GroupInfo, Data, Tree string
	Epoch                                          uint64
	Authenticator, Exported                        string
	Leaf                                           uint32
	Members                                        []tsLeaf
}

type tsLeaf struct {
	Leaf     uint32
	Identity string
}

func (c *tsClient) kind() string { return "ts-mls" }

func (c *tsClient) offer() ([]byte, error) {
	var a tsAnswer
	if err := c.call("offer", map[string]any{"identity": c.identity}, &a); err != nil {
		return nil, err
	}
	return hex.DecodeString(a.Message)
}

func (c *tsClient) create(groupID []byte) (member, error) {
	return c.enter("create", map[string]any{"id": hex.EncodeToString(groupID)}, &tsAnswer{})
}

func (c *tsClient) join(welcome []byte) (member, error) {
	return c.enter("join", map[string]any{"welcome": hex.EncodeToString(welcome)}, &tsAnswer{})
}

func (c *tsClient) enter(op string, args map[string]any, a *tsAnswer) (member, error) {
	args["identity"] = c.identity
	if err := c.call(op, args, a); err != nil {
		return nil, err
	}
	return &tsMember{c: c, last: *a, group: a.Group}, nil
}

func (c *tsClient) joinExternal(groupInfo []byte, former *uint32) (member, []byte, error) {
	var a tsAnswer
	m, err := c.enter("joinExternal", map[string]any{"groupInfo": hex.EncodeToString(groupInfo), "resync": former != nil}, &a)
	if err != nil {
		return nil, nil, err
	}
	commit, err := hex.DecodeString(a.Message)
	return m, commit, err
}

func (c *tsClient) learn(id, psk []byte) error {
	return c.call("psk", map[string]any{"identity": c.identity, "id": hex.EncodeToString(id), "psk": hex.EncodeToString(psk)}, nil)
}

type tsMember struct {
	c     *tsClient
	group string
	last  tsAnswer // with the view of the current epoch
}

func (m *tsMember) call(op string, args map[string]any, a *tsAnswer) error {
	if args == nil {
		args = map[string]any{}
	}
	args["group"] = m.group
	return m.c.call(op, args, a)
}

func (m *tsMember) state() (view, error) {
	var list []string
	slices.SortFunc(m.last.Members, func(a, b tsLeaf) int { return int(a.Leaf) - int(b.Leaf) })
	for _, x := range m.last.Members {
		identity, err := hex.DecodeString(x.Identity)
		if err != nil {
			return view{}, err
		}
		list = append(list, memberString(x.Leaf, string(identity)))
	}
	return view{m.last.Epoch, m.last.Authenticator, m.last.Exported, strings.Join(list, " "), m.last.Leaf}, nil
}

func tsProposal(p proposal) map[string]any {
	args := map[string]any{"kind": p.kind, "leaf": p.leaf, "keyPackage": hex.EncodeToString(p.keyPackage), "id": hex.EncodeToString(p.pskID)}
	var list []map[string]any
	for _, e := range p.extensions {
		list = append(list, map[string]any{"type": e.Type, "data": hex.EncodeToString(e.Data)})
	}
	args["extensions"] = list
	return args
}

func (m *tsMember) message(op string, args map[string]any) ([]byte, error) {
	var a tsAnswer
	if err := m.call(op, args, &a); err != nil {
		return nil, err
	}
	return hex.DecodeString(a.Message)
}

func (m *tsMember) propose(p proposal, open bool) ([]byte, error) {
	return m.message("propose", map[string]any{"proposal": tsProposal(p), "open": open})
}

func (m *tsMember) commit(list []proposal, open bool) (commit, welcome []byte, err error) {
	args := []map[string]any{}
	for _, p := range list {
		args = append(args, tsProposal(p))
	}
	var a tsAnswer
	if err := m.call("commit", map[string]any{"proposals": args, "open": open}, &a); err != nil {
		return nil, nil, err
	}
	m.last = a
	if commit, err = hex.DecodeString(a.Message); err != nil || a.Welcome == "" {
		return commit, nil, err
	}
	welcome, err = hex.DecodeString(a.Welcome)
	return commit, welcome, err
}

func (m *tsMember) encrypt(data []byte) ([]byte, error) {
	return m.message("encrypt", map[string]any{"data": hex.EncodeToString(data)})
}

func (m *tsMember) receive(message []byte) ([]byte, error) {
	var a tsAnswer
	if err := m.call("receive", map[string]any{"message": hex.EncodeToString(message)}, &a); err != nil {
		return nil, err
	}
	m.last = a
	return hex.DecodeString(a.Data)
}

func (m *tsMember) groupInfo() ([]byte, error) { return m.message("groupInfo", nil) }

func noError(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
