package etcd

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"
)

// A data directory holds, beside etcd's own member/, a lock file and a file that says
// what the directory is.
const (
	formatFile = "format.json"
	lockFile   = "lock"
	memberDir  = "member"

	formatVersion = 1
)

// format is what format.json says.
type format struct {
	Version int `json:"version"`
	// Complete is false until the first start has succeeded. Until then nothing was
	// acknowledged to anybody, so what a crash left behind can be thrown away.
	Complete bool `json:"complete"`
	// Member is the name among peers, "" of a member that is alone.
	Member string `json:"member,omitempty"`
}

// dataDir is a data directory that no other process uses.
type dataDir struct {
	path   string
	lock   *os.File
	format format
}

// openDataDir takes the directory, makes it if there is none, and checks that it is
// one this program can read.
func openDataDir(path, member string) (*dataDir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	lock, err := takeLock(path)
	if err != nil {
		return nil, err
	}
	d := &dataDir{path: path, lock: lock}
	if err := d.check(member); err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

// check reads format.json, and writes the first one.
func (d *dataDir) check(member string) error {
	text, err := os.ReadFile(filepath.Join(d.path, formatFile))
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(filepath.Join(d.path, memberDir)); err == nil {
			return fmt.Errorf("data directory %s holds an etcd that this program did not make (%s is missing): "+
				"choose another directory, or run that etcd by itself and name it under servers", d.path, formatFile)
		}
		d.format = format{Version: formatVersion, Member: member}
		return d.write()
	}
	if err != nil {
		return fmt.Errorf("read data directory: %w", err)
	}
	if err := json.Unmarshal(text, &d.format); err != nil {
		return fmt.Errorf("data directory %s: %s is damaged (%w): restore a copy of the directory, "+
			"or move it away to begin with an empty cluster", d.path, formatFile, err)
	}
	if d.format.Version != formatVersion {
		return fmt.Errorf("data directory %s has format %d, this program reads format %d: use the version that wrote it, "+
			"or move it away to begin with an empty cluster", d.path, d.format.Version, formatVersion)
	}
	if d.format.Member != member {
		return fmt.Errorf("data directory %s belongs to %s, not to %s: choose another directory, or the configuration that made it",
			d.path, whose(d.format.Member), whose(member))
	}
	if found, err := filepath.Glob(filepath.Join(d.path, memberDir, "wal", "*.wal")); member != "" && err == nil && len(found) == 0 {
		return nil // it has never run, or has lost everything: its peers know, and etcd asks them
	}
	if !d.format.Complete {
		if err := os.RemoveAll(filepath.Join(d.path, memberDir)); err != nil {
			return fmt.Errorf("remove what an interrupted first start left: %w", err)
		}
		return nil
	}
	// Without one of these etcd would begin anew, or half anew.
	for _, part := range []string{"snap/db", "wal/*.wal"} {
		if found, err := filepath.Glob(filepath.Join(d.path, memberDir, part)); err != nil || len(found) == 0 {
			return fmt.Errorf("data directory %s is incomplete (%s/%s is missing): restore a copy of the directory, "+
				"or move it away to begin with an empty cluster", d.path, memberDir, part)
		}
	}
	if err := checkDatabase(filepath.Join(d.path, memberDir, "snap", "db")); err != nil {
		return fmt.Errorf("the database in data directory %s is damaged (%w): restore a copy of the directory, "+
			"or move it away to begin with an empty cluster", d.path, err)
	}
	return nil
}

func whose(member string) string {
	if member == "" {
		return "a member without peers"
	}
	return fmt.Sprintf("the member %q of a cluster", member)
}

// checkDatabase looks whether the database begins as one and is as long as it says.
// etcd maps it into memory and would crash on the part that is missing.
func checkDatabase(path string) error {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: time.Second})
	if err != nil {
		return err
	}
	defer db.Close()
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	return db.View(func(tx *bbolt.Tx) error {
		if info.Size() < tx.Size() {
			return fmt.Errorf("%s has %d bytes of %d", path, info.Size(), tx.Size())
		}
		return nil
	})
}

// complete notes that the first start has succeeded.
func (d *dataDir) complete() error {
	if d.format.Complete {
		return nil
	}
	d.format.Complete = true
	return d.write()
}

// write replaces format.json: a crash leaves the old one or the new one.
func (d *dataDir) write() error {
	text, err := json.Marshal(d.format)
	if err != nil {
		return err
	}
	path := filepath.Join(d.path, formatFile)
	if err := writeSynced(path+".new", append(text, '\n')); err != nil {
		return fmt.Errorf("write data directory: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("write data directory: %w", err)
	}
	if err := syncPath(d.path); err != nil {
		return fmt.Errorf("write data directory: %w", err)
	}
	return nil
}

// syncPath brings a file, or the names in a directory, to the disk.
func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// syncTree does so for everything below path.
func syncTree(path string) error {
	return filepath.WalkDir(path, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return syncPath(path)
	})
}

func writeSynced(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Sync(), f.Close())
}

// close gives the directory back.
func (d *dataDir) close() { freeLock(d.lock) }
