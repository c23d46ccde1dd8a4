package house

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const module = "github.com/confab-chat/confab/"

// floors orders the folders: a package imports only from floors below its own.
// Within a floor, and within a folder, the rules below say more.
var floors = []struct {
	floor int
	dirs  []string
}{
	{1, []string{"namesvc", "contracts", "web"}},
	{2, []string{"lightclient", "stream"}},
	{3, []string{"chain", "talk", "concierge", "chatnode"}},
	{4, []string{"agent"}},
	{5, []string{"internal"}},
	{6, []string{"cmd"}},
}

// never lists what a package must not reach, not even through others, and why.
var never = []struct{ from, to, why string }{
	{"namesvc", "net", "the law must give the same answer everywhere, so it cannot ask anyone"},
	{"namesvc", "os/exec", "the law must give the same answer everywhere"},
	{"namesvc", "github.com/cometbft", "the law outlives any consensus engine"},
	{"namesvc/wire", module + "namesvc/key", "everything stands on the encoding; it stands on nothing of ours"},
	{"lightclient", "github.com/cometbft", "it must run in a browser and weigh little"},
	{"lightclient", "github.com/ethereum", "it must run in a browser and weigh little; only ethanchor's fetching half may"},
	{"lightclient", "github.com/cockroachdb/pebble", "it must run in a browser"},
	{"lightclient/verify", "net", "verification is a function of its arguments"},
	{"lightclient/bundle", "net", "verification is a function of its arguments"},
	{"lightclient/verify", module + "namesvc/key", "headers know no names; it stands on namesvc/wire alone"},
	{"lightclient", module + "chain", "who verifies must not depend on who is verified"},
	{"agent", "github.com/cometbft", "a user's program follows the chain, it does not run it"},
	{"agent", module + "chain", "a user's program follows the chain, it does not run it"},
	{"agent/card", module + "concierge", "a card is read before anything is connected to"},
	{"talk", "net", "what is true of a conversation asks nobody"},
	{"cmd/confab", "github.com/cometbft", "a user's program follows the chain, it does not run it"},
	{"chain", module + "lightclient/source", "a validator answers queries, it does not ask them"},
}

// siblings never import one another: what two of them share is below them.
var siblings = []string{"chain", "talk", "concierge", "chatnode"}

// pure packages contain no clock, randomness, environment or goroutine.
var pure = []string{"namesvc", "namesvc/key", "namesvc/wire", "namesvc/statetree", "lightclient/verify", "lightclient/bundle", "talk/message", "talk/e2ee", "talk/media", "stream/chunk", "agent/card"}

type pkg struct {
	ImportPath string
	Dir        string
	Name       string
	Doc        string
	Imports    []string
	Deps       []string
	GoFiles    []string
}

func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-deps=false", "-json=ImportPath,Dir,Name,Doc,Imports,Deps,GoFiles", "./...")
	cmd.Dir = root(t)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var list []pkg
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return list
		} else if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
}

func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// under reports whether an import path, ours or not, is dir or below it.
func under(path, dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }

func floorOf(path string) int {
	rel := strings.TrimPrefix(path, module)
	for _, f := range floors {
		for _, d := range f.dirs {
			if under(rel, d) {
				return f.floor
			}
		}
	}
	return 0
}

func TestHouse_ImportsOnlyFromBelow(t *testing.T) {
	for _, p := range packages(t) {
		from := floorOf(p.ImportPath)
		if from == 0 {
			t.Errorf("%s stands on no floor; give its folder one in this file", p.ImportPath)
		}
		for _, imp := range p.Imports {
			if !strings.HasPrefix(imp, module) {
				continue
			}
			top := func(s string) string { return strings.SplitN(strings.TrimPrefix(s, module), "/", 2)[0] }
			if to := floorOf(imp); to > from || (to == from && top(imp) != top(p.ImportPath)) {
				t.Errorf("%s (floor %d) imports %s (floor %d)", p.ImportPath, from, imp, to)
			}
		}
	}
}

func TestHouse_NeverReaches(t *testing.T) {
	for _, p := range packages(t) {
		rel := strings.TrimPrefix(p.ImportPath, module)
		for _, rule := range never {
			if !under(rel, rule.from) || rule.from == "cmd/confab" && rel != rule.from {
				continue
			}
			for _, dep := range p.Deps {
				if under(dep, rule.to) {
					t.Errorf("%s reaches %s: %s", p.ImportPath, dep, rule.why)
				}
			}
		}
		for _, a := range siblings {
			for _, b := range siblings {
				if a == b || !under(rel, a) {
					continue
				}
				for _, dep := range p.Deps {
					if under(dep, module+b) {
						t.Errorf("%s reaches %s: siblings never import one another", p.ImportPath, dep)
					}
				}
			}
		}
	}
}

func TestHouse_EveryPackageSaysWhatItIs(t *testing.T) {
	for _, p := range packages(t) {
		if strings.TrimSpace(p.Doc) == "" && len(p.GoFiles) > 0 {
			t.Errorf("%s has no package documentation", p.ImportPath)
		}
	}
}

// TestHouse_PurePackagesAskNobody looks for calls that make a result depend on
// anything but the arguments.
func TestHouse_PurePackagesAskNobody(t *testing.T) {
	banned := map[string]string{
		"time.Now": "a clock", "time.Since": "a clock", "os.Getenv": "the environment", "os.Open": "a file",
		"rand.Read": "randomness", "rand.Int": "randomness", "rand.Text": "randomness",
	}
	for _, dir := range pure {
		for name, f := range parse(t, filepath.Join(root(t), dir)) {
			ast.Inspect(f, func(n ast.Node) bool {
				switch x := n.(type) {
				case *ast.GoStmt:
					t.Errorf("%s/%s starts a goroutine; pure packages do not", dir, name)
				case *ast.SelectorExpr:
					if id, ok := x.X.(*ast.Ident); ok {
						if what := banned[id.Name+"."+x.Sel.Name]; what != "" {
							t.Errorf("%s/%s uses %s.%s: pure packages get %s as an argument", dir, name, id.Name, x.Sel.Name, what)
						}
					}
				}
				return true
			})
		}
	}
}

// TestHouse_NoInit forbids init functions: what happens before main cannot be
// read at the place where it matters.
func TestHouse_NoInit(t *testing.T) {
	for _, p := range packages(t) {
		for name, f := range parse(t, p.Dir) {
			for _, d := range f.Decls {
				if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
					t.Errorf("%s/%s has an init function", p.ImportPath, name)
				}
			}
		}
	}
}

func parse(t *testing.T, dir string) map[string]*ast.File {
	t.Helper()
	files := map[string]*ast.File{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		name := e.Name()
		if e.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = f
	}
	return files
}

// TestHouse_ConsensusIsPinned: "latest" resolves to an abandoned line without
// the fix of a critical fault.
func TestHouse_ConsensusIsPinned(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(root(t), "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(b, []byte("github.com/cometbft/cometbft v0.40.0\n")) {
		t.Error("go.mod does not require github.com/cometbft/cometbft v0.40.0; see docs/DECISIONS.md before you change it")
	}
}

// TestHouse_EachDependencyHasAReason compares go.mod with docs/DECISIONS.md.
func TestHouse_EachDependencyHasAReason(t *testing.T) {
	mod, err := os.ReadFile(filepath.Join(root(t), "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	decisions, err := os.ReadFile(filepath.Join(root(t), "docs", "DECISIONS.md"))
	if errors.Is(err, fs.ErrNotExist) {
		t.Fatal("docs/DECISIONS.md is missing")
	}
	for line := range strings.Lines(string(mod)) {
		f := strings.Fields(line)
		if len(f) == 2 && strings.Contains(f[0], ".") && strings.HasPrefix(f[1], "v") && !strings.Contains(line, "// indirect") {
			if !bytes.Contains(decisions, []byte(f[0])) {
				t.Errorf("docs/DECISIONS.md does not say why we depend on %s", f[0])
			}
		}
	}
}

// TestHouse_PromisesNameTestsThatExist keeps docs/PROMISES.md true: what it names as
// the proof of a promise must be there.
func TestHouse_PromisesNameTestsThatExist(t *testing.T) {
	b, err := os.ReadFile("../../docs/PROMISES.md")
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]bool{}
	err = filepath.WalkDir("../..", func(path string, e fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		src, err := os.ReadFile(path)
		for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)\(`).FindAllSubmatch(src, -1) {
			tests[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for row := range strings.Lines(string(b)) {
		cells := strings.Split(row, "|")
		if len(cells) < 5 || strings.TrimSpace(cells[1]) == "" || strings.Contains(cells[1], "---") {
			continue
		}
		named := regexp.MustCompile("`(Test\\w+)`").FindAllStringSubmatch(cells[3], -1)
		if len(named) == 0 {
			t.Errorf("no test shows%s", cells[1])
		}
		for _, m := range named {
			if !tests[m[1]] {
				t.Errorf("%s: there is no %s", strings.TrimSpace(cells[1]), m[1])
			}
		}
		for _, m := range regexp.MustCompile(`\]\(([^)]+)\)`).FindAllStringSubmatch(cells[3], -1) {
			if _, err := os.Stat(filepath.Join("../../docs", m[1])); err != nil {
				t.Errorf("%s: %v", strings.TrimSpace(cells[1]), err)
			}
		}
	}
}
