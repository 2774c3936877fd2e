package shim

import (
	"encoding/json"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
)

// Record is what is on disk of a container's last run, in its Pod's directory. It is
// there from the start of the program, and says when and how it ended.
type Record struct {
	Start
	PID  int
	Exit *Exit // nil: it runs, or its end was not seen
}

// recordDir, in a Pod's directory, has a file per container.
const recordDir = "runs"

// envelope shows whether a record is whole.
type envelope struct {
	Version int
	CRC     uint32
	Record  json.RawMessage
}

func (s *Start) recordFile() string {
	return filepath.Join(s.Pod, recordDir, s.For[strings.LastIndexByte(s.For, '/')+1:])
}

// write replaces the record at once: whatever happens, there is the old or the new one.
func (r *Record) write() error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if data, err = json.Marshal(envelope{Version, crc32.ChecksumIEEE(data), data}); err != nil {
		return err
	}
	path := r.recordFile()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", data, 0o600); err != nil { // it has the environment, which may be secret
		return err
	}
	return os.Rename(path+".new", path)
}

// Records reads those of a Pod by container. err says which are damaged; they are left out.
func Records(pod string) (all map[string]Record, damaged map[string]error) {
	all, damaged = map[string]Record{}, map[string]error{}
	files, _ := filepath.Glob(filepath.Join(pod, recordDir, "*")) // the pattern is fine
	for _, file := range files {
		if strings.HasSuffix(file, ".new") {
			continue // of a crash
		}
		data, err := os.ReadFile(file)
		var r Record
		if err == nil {
			r, err = parseRecord(data)
		}
		if err == nil && (r.Pod != pod || r.recordFile() != file) {
			err = fmt.Errorf("it is of %s", r.For)
		}
		if err != nil {
			damaged[filepath.Base(file)] = err
			continue
		}
		all[filepath.Base(file)] = r
	}
	return all, damaged
}

func parseRecord(data []byte) (r Record, err error) {
	var e envelope
	if err := json.Unmarshal(data, &e); err != nil {
		return r, err
	}
	if e.Version != Version {
		return r, fmt.Errorf("it has version %d, not %d", e.Version, Version)
	}
	if crc32.ChecksumIEEE(e.Record) != e.CRC {
		return r, fmt.Errorf("its checksum is wrong")
	}
	err = json.Unmarshal(e.Record, &r)
	return r, err
}
