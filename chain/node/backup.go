package node

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	dbm "github.com/cometbft/cometbft-db"
	sm "github.com/cometbft/cometbft/state"
	cmtstore "github.com/cometbft/cometbft/store"

	"github.com/confab-chat/confab/chain/store"
	"github.com/confab-chat/confab/namesvc/wire"
)

// A backup is a folder: the state, CometBFT's databases, the genesis file and the
// configuration as of one moment, and backupFile, which lists every file with its
// hash. The state is copied first, so that it is never ahead of the blocks;
// blocks and CometBFT's state are read from snapshots of one moment. What a
// validator signed last is of the end of the copy, so it is never older than a
// vote in it.

// BackupInfo is what a backup says of itself.
type BackupInfo struct {
	Version int       `json:"version"` // 1
	Chain   string    `json:"chain"`
	State   uint64    `json:"state_height"`
	Blocks  uint64    `json:"block_height"`
	Taken   time.Time `json:"taken"`
	Keys    bool      `json:"keys"`  // the validator's secret is in it
	Bytes   int64     `json:"bytes"` // of all files
	Files   []File    `json:"files"`

	// Signs is told by Restore: the folder signs with the backup's key.
	Signs bool `json:"-"`
}

// File is one file of a backup.
type File struct {
	Path   string `json:"path"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

const (
	backupFile    = "backup.json"
	backupVersion = 1
	// maxBackupFile bounds backup.json: a hundred thousand files.
	maxBackupFile = 32 << 20
	// partSuffix marks a backup or folder that is not complete.
	partSuffix = ".part"
	// copyBatch is how many bytes are written to a copy of a database at a time.
	copyBatch = 1 << 20
	// copyTries is how often CometBFT's databases are copied until both are of one
	// moment. Two blocks would have to fall between two calls.
	copyTries = 5
)

// databaseNames are CometBFT's databases.
var databaseNames = [...]string{"blockstore", "state", "evidence"}

// BackupFolder backs up the folder of a validator that does not run, into a folder
// that is not there yet. With keys, the validator's keys are in it, readable for
// this user alone.
func BackupFolder(ctx context.Context, home, to string, keys bool, logger *slog.Logger) (BackupInfo, error) {
	c, err := LoadConfig(home)
	if err != nil {
		return BackupInfo{}, err
	}
	doc, err := loadGenesis(home)
	if err != nil {
		return BackupInfo{}, err
	}
	s, err := store.Open(filepath.Join(home, stateData), store.Options{Chain: doc.ChainID, Logger: logger})
	if err != nil {
		return BackupInfo{}, err
	}
	defer s.Close()
	d, err := openDatabases(cometConfig(home, c))
	if err != nil {
		return BackupInfo{}, err
	}
	defer d.close()
	return backup(ctx, home, doc.ChainID, s, d, to, keys)
}

// Backup backs up a validator that runs.
func (n *Node) Backup(ctx context.Context, to string, keys bool) (BackupInfo, error) {
	return backup(ctx, n.home, n.Query.Chain, n.store, n.data, to, keys)
}

func backup(ctx context.Context, home, chain string, s *store.Store, d *databases, to string, keys bool) (info BackupInfo, err error) {
	if _, err := os.Lstat(to); err == nil {
		return info, wire.Errorf(wire.Exists, "back up: %s is there already; name a folder that is not", to)
	}
	part := to + partSuffix
	if err := os.RemoveAll(part); err != nil { // of one that was interrupted
		return info, fmt.Errorf("back up: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(part, cometData), 0o700); err != nil {
		return info, fmt.Errorf("back up: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("back up: %w", err), os.RemoveAll(part))
		}
	}()
	info = BackupInfo{Version: backupVersion, Chain: chain, Taken: time.Now().UTC().Truncate(time.Second), Keys: keys}
	state, err := s.Backup(filepath.Join(part, stateData))
	if err != nil {
		return info, err
	}
	info.State = state.Height
	if info.Blocks, err = d.copyTo(ctx, filepath.Join(part, cometData)); err != nil {
		return info, err
	}
	names := []string{genesisFile, ConfigFile}
	if keys {
		names = append(names, validatorKey, nodeKey, signStateFile)
	}
	for _, name := range names {
		if err := copyFile(filepath.Join(home, name), filepath.Join(part, name)); err != nil {
			return info, err
		}
	}
	if info.Files, info.Bytes, err = listFiles(ctx, part); err != nil {
		return info, err
	}
	b, err := json.MarshalIndent(info, "", " ")
	if err != nil {
		return info, err
	}
	if err := writeNew(filepath.Join(part, backupFile), b, 0o600); err != nil {
		return info, err
	}
	return info, os.Rename(part, to)
}

// copyTo copies all databases into a folder and returns the height of the newest
// block in it.
func (d *databases) copyTo(ctx context.Context, dir string) (uint64, error) {
	for range copyTries {
		if err := d.copyOnce(ctx, dir); err != nil {
			return 0, err
		}
		state, blocks, err := heightsOf(dir)
		if err != nil {
			return 0, err
		}
		if blocks == state || blocks == state+1 || blocks == 0 {
			return blocks, nil
		}
		for _, name := range databaseNames {
			if err := os.RemoveAll(filepath.Join(dir, name+".db")); err != nil {
				return 0, err
			}
		}
	}
	return 0, errors.New("blocks come faster than they can be copied; stop the validator first")
}

func (d *databases) copyOnce(ctx context.Context, dir string) error {
	its := map[string]dbm.Iterator{}
	defer func() {
		for _, it := range its {
			it.Close()
		}
	}()
	for _, name := range databaseNames { // each iterator sees its database as it is now
		it, err := d.open[name].Iterator(nil, nil)
		if err != nil {
			return err
		}
		its[name] = it
	}
	for _, name := range databaseNames {
		if err := copyDatabase(ctx, its[name], name, dir); err != nil {
			return fmt.Errorf("copy %s: %w", name, err)
		}
	}
	return nil
}

func copyDatabase(ctx context.Context, it dbm.Iterator, name, dir string) (err error) {
	out, err := dbm.NewDB(name, dbm.GoLevelDBBackend, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	batch, size := out.NewBatch(), 0
	defer func() { batch.Close() }()
	flush := func() error {
		if err := batch.WriteSync(); err != nil {
			return err
		}
		batch.Close()
		batch, size = out.NewBatch(), 0
		return ctx.Err()
	}
	for ; it.Valid(); it.Next() {
		if err := batch.Set(it.Key(), it.Value()); err != nil {
			return err
		}
		if size += len(it.Key()) + len(it.Value()); size > copyBatch {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return errors.Join(it.Error(), flush())
}

// heightsOf returns the heights of a copy of CometBFT's databases.
func heightsOf(dir string) (state, blocks uint64, err error) {
	open := func(name string) (dbm.DB, error) { return dbm.NewDB(name, dbm.GoLevelDBBackend, dir) }
	b, err := open("blockstore")
	if err != nil {
		return 0, 0, err
	}
	blocks = uint64(cmtstore.NewBlockStore(b).Height())
	err = b.Close()
	s, serr := open("state")
	if serr != nil {
		return 0, 0, errors.Join(err, serr)
	}
	loaded, serr := sm.NewStore(s, sm.StoreOptions{}).Load()
	return uint64(loaded.LastBlockHeight), blocks, errors.Join(err, serr, s.Close())
}

func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	return out.Sync()
}

// listFiles returns all files below a folder with their hashes.
func listFiles(ctx context.Context, dir string) (out []File, total int64, err error) {
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || e.Name() == "LOCK" || path == filepath.Join(dir, backupFile) {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		h := sha256.New()
		n, err := io.Copy(h, f)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		out = append(out, File{Path: filepath.ToSlash(name), Size: n, SHA256: hex.EncodeToString(h.Sum(nil))})
		total += n
		return err
	})
	return out, total, err
}

// Restore makes a validator's folder of a backup. The folder must have no data;
// keys and a sign state that are there stay, those of the backup come where there
// are none, and new ones are made if neither has any. Everything is checked
// before the folder is there: the files against the backup's list, the state
// against itself, and both halves against one another.
//
// A key of the backup may have signed since: block.double_sign_check is then
// [RestoredCheck] at least, so that the validator signs nothing before that many
// blocks were made without it.
func Restore(ctx context.Context, from, home string, logger *slog.Logger) (BackupInfo, error) {
	info, err := restore(ctx, from, home, logger)
	if err != nil {
		return info, fmt.Errorf("restore %s: %w", from, err)
	}
	return info, nil
}

func restore(ctx context.Context, from, home string, logger *slog.Logger) (BackupInfo, error) {
	info, err := checkBackup(ctx, from)
	if err != nil {
		return info, err
	}
	for _, name := range []string{stateData, cometData} {
		if _, err := os.Stat(filepath.Join(home, name)); err == nil {
			return info, wire.Errorf(wire.Exists, "%s is there already: move it away first, or name another folder with --home", filepath.Join(home, name))
		}
	}
	part := filepath.Clean(home) + partSuffix
	if err := os.RemoveAll(part); err != nil {
		return info, err
	}
	defer os.RemoveAll(part)
	for _, f := range info.Files {
		if err := ctx.Err(); err != nil {
			return info, err
		}
		if err := copyFile(filepath.Join(from, f.Path), filepath.Join(part, f.Path)); err != nil {
			return info, err
		}
	}
	info.Signs = info.Keys
	for _, name := range []string{genesisFile, ConfigFile, validatorKey, nodeKey, signStateFile} {
		own := filepath.Join(home, name)
		if _, err := os.Stat(own); err != nil {
			continue
		}
		if name == validatorKey {
			info.Signs = false
		}
		os.Remove(filepath.Join(part, name))
		if err := copyFile(own, filepath.Join(part, name)); err != nil {
			return info, err
		}
	}
	if _, err := os.Stat(filepath.Join(part, validatorKey)); err != nil {
		if err := os.MkdirAll(filepath.Join(part, filepath.Dir(validatorKey)), 0o700); err != nil {
			return info, err
		}
		if err := writeKeys(part); err != nil {
			return info, err
		}
	}
	if info.Signs {
		// The folder's own configuration stays, and is not the one in part.
		for _, dir := range []string{part, home} {
			if err := guardRestored(dir); err != nil {
				return info, err
			}
		}
	}
	if err := checkFolder(part, logger); err != nil {
		return info, err
	}
	return info, moveInto(part, home)
}

// RestoredCheck is what block.double_sign_check is set to where a key of a backup
// is restored: ten blocks are long enough for whoever else signs with it to show.
const RestoredCheck = 10

// checkLine is the line of a configuration that RestoredCheck goes into.
const checkLine = `(?m)^([ \t]*double_sign_check[ \t]*=[ \t]*)[0-9]+`

// guardRestored sets the double sign check in a folder's configuration, if there is
// one, and leaves the rest of the file as somebody wrote it.
func guardRestored(dir string) error {
	path := filepath.Join(dir, ConfigFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	c, err := LoadConfig(dir)
	if err != nil || c.Block.DoubleSignCheck >= RestoredCheck {
		return err
	}
	line := regexp.MustCompile(checkLine)
	if !line.Match(b) {
		c.Block.DoubleSignCheck = RestoredCheck
		b = c.Encode()
	}
	return os.WriteFile(path, line.ReplaceAll(b, fmt.Appendf(nil, "${1}%d", RestoredCheck)), 0o600)
}

// moveInto puts a checked folder in its place: as a whole if nothing is there,
// else what is not there yet, the state last: without it the folder is not one
// that could run.
func moveInto(part, home string) error {
	if err := os.Rename(part, home); err == nil {
		return nil
	}
	if err := os.MkdirAll(home, 0o700); err != nil {
		return err
	}
	for _, name := range []string{genesisFile, ConfigFile, validatorKey, nodeKey, signStateFile, cometData, stateData} {
		to := filepath.Join(home, name)
		if _, err := os.Lstat(to); err == nil {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			return err
		}
		if err := os.Rename(filepath.Join(part, name), to); err != nil {
			return err
		}
	}
	return nil
}

// checkBackup reads what a backup says of itself and compares its files with it.
func checkBackup(ctx context.Context, from string) (info BackupInfo, err error) {
	f, err := os.Open(filepath.Join(from, backupFile))
	if err != nil {
		return info, wire.Errorf(wire.NotFound, "it is no backup, or not a complete one: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxBackupFile+1))
	if err != nil {
		return info, err
	}
	if len(b) > maxBackupFile || json.Unmarshal(b, &info) != nil {
		return info, wire.Errorf(wire.Invalid, "%s is damaged", backupFile)
	}
	if info.Version != backupVersion {
		return info, wire.Errorf(wire.Invalid, "it has version %d, this program knows %d: upgrade it", info.Version, backupVersion)
	}
	there, _, err := listFiles(ctx, from)
	if err != nil {
		return info, err
	}
	found := map[string]File{}
	for _, f := range there {
		found[f.Path] = f
	}
	for _, f := range info.Files {
		if !filepath.IsLocal(filepath.FromSlash(f.Path)) || strings.Contains(f.Path, `\`) {
			return info, wire.Errorf(wire.Invalid, "it lists %.100q, which lies outside", f.Path)
		}
		if found[f.Path] != f {
			return info, wire.Errorf(wire.Invalid, "%s is not as it was backed up: take another backup", f.Path)
		}
		delete(found, f.Path)
	}
	for name := range found {
		return info, wire.Errorf(wire.Invalid, "%s is not part of the backup: somebody put it there", name)
	}
	return info, nil
}

// checkFolder checks a folder as a validator that opens it does, and its whole
// state besides.
func checkFolder(home string, logger *slog.Logger) error {
	doc, err := loadGenesis(home)
	if err != nil {
		return err
	}
	pv, err := loadKey(home)
	if err != nil {
		return err
	}
	c, err := LoadConfig(home)
	if err != nil {
		return err
	}
	s, err := store.Open(filepath.Join(home, stateData), store.Options{Chain: doc.ChainID, Logger: logger})
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.Check(); err != nil {
		return wire.Errorf(wire.Invalid, "%w", err)
	}
	d, err := openDatabases(cometConfig(home, c))
	if err != nil {
		return err
	}
	defer d.close()
	return d.check(doc, s.State(), pv)
}
