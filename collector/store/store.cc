// SPDX-License-Identifier: Apache-2.0
#include "collector/store/store.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "collector/store/batch_rows.h"
#include "collector/store/run_rows.h"
#include "collector/store/schema.h"

namespace faultline {
namespace {

// Same columns in the same order: frames of the one can be read with the other.
bool SameShape(const v1::Schema& a, const v1::Schema& b) {
  if (a.tables_size() != b.tables_size()) return false;
  for (int t = 0; t < a.tables_size(); ++t) {
    const v1::TableSchema& left = a.tables(t);
    const v1::TableSchema& right = b.tables(t);
    if (left.name() != right.name() || left.columns_size() != right.columns_size()) return false;
    for (int c = 0; c < left.columns_size(); ++c) {
      const v1::Column& x = left.columns(c);
      const v1::Column& y = right.columns(c);
      if (x.name() != y.name() || x.kind() != y.kind() || x.scale() != y.scale() ||
          x.unit() != y.unit()) {
        return false;
      }
    }
  }
  return true;
}

absl::StatusOr<std::int64_t> UpsertNode(Database& database, const v1::Hello& hello,
                                        std::int64_t now_ns) {
  Query query(database,
              "INSERT INTO nodes(name, node, schema, interval_ns, last_seen_ns) VALUES(?1, ?2, 0, "
              "?3, ?4) ON CONFLICT(name) DO UPDATE SET node = ?2, interval_ns = ?3, last_seen_ns = "
              "?4");
  const auto status = query.Text(hello.node().id())
                          .Blob(hello.node().SerializeAsString())
                          .Int(hello.interval_ns())
                          .Int(now_ns)
                          .Run();
  if (!status.ok()) return status;
  return FindNode(database, hello.node().id());
}

absl::Status CheckShape(Database& database, std::int64_t node, const v1::Schema& schema) {
  Query query(database, "SELECT schema FROM schemas WHERE node = ? AND fingerprint = ?");
  const auto row = query.Int(node).Int(static_cast<std::int64_t>(schema.id())).Next();
  if (!row.ok()) return row.status();
  if (!*row) return absl::OkStatus();
  v1::Schema known;
  const absl::string_view bytes = query.BytesAt(0);
  if (known.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())) &&
      SameShape(known, schema)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("schema ", absl::Hex(schema.id()),
                   " named other columns before; a schema that changes needs a new id"));
}

absl::Status UpsertSchema(Database& database, std::int64_t node, const v1::Schema& schema) {
  auto status = CheckShape(database, node, schema);
  if (!status.ok()) return status;
  Query insert(
      database,
      "INSERT INTO schemas(node, fingerprint, schema) VALUES(?1, ?2, ?3) ON CONFLICT(node, "
      "fingerprint) DO UPDATE SET schema = ?3");
  status = insert.Int(node)
               .Int(static_cast<std::int64_t>(schema.id()))
               .Blob(schema.SerializeAsString())
               .Run();
  if (!status.ok()) return status;
  Query current(database,
                "UPDATE nodes SET schema = (SELECT id FROM schemas WHERE node = ?1 AND fingerprint "
                "= ?2) WHERE id = ?1");
  return current.Int(node).Int(static_cast<std::int64_t>(schema.id())).Run();
}

// A spool rarely outlives more than one upgrade of its agent.
constexpr std::int64_t kSchemasKept = 8;

absl::StatusOr<std::vector<v1::Schema>> NewestSchemas(Database& database, std::int64_t node) {
  Query query(database, "SELECT schema FROM schemas WHERE node = ? ORDER BY id DESC LIMIT ?");
  query.Int(node).Int(kSchemasKept);
  std::vector<v1::Schema> schemas;
  while (true) {
    const auto row = query.Next();
    if (!row.ok()) return row.status();
    if (!*row) return schemas;
    v1::Schema schema;
    const absl::string_view bytes = query.BytesAt(0);
    if (schema.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
      schemas.push_back(std::move(schema));
    }
  }
}

absl::StatusOr<HelloOutcome> InsertHello(Database& database, const v1::Hello& hello,
                                         std::int64_t now_ns) {
  const auto node = UpsertNode(database, hello, now_ns);
  if (!node.ok()) return node.status();
  const auto status = UpsertSchema(database, *node, hello.schema());
  if (!status.ok()) return status;
  const auto epoch =
      FindOrMakeEpoch(database, *node, hello.epoch(), hello.node().boot_id(), hello.interval_ns());
  if (!epoch.ok()) return epoch.status();
  const auto mark = MarkOf(database, *epoch);
  if (!mark.ok()) return mark.status();
  auto schemas = NewestSchemas(database, *node);
  if (!schemas.ok()) return schemas.status();
  return HelloOutcome{*mark, std::move(*schemas)};
}

// Submits work that yields a value and hands it to `done` once it is durable.
template <typename Value, typename Work>
void SubmitFor(Writer& writer, Work work, std::function<void(absl::StatusOr<Value>)> done) {
  auto result = std::make_shared<absl::StatusOr<Value>>(absl::UnknownError(""));
  writer.Submit(
      [result, work = std::move(work)](Database& database) {
        *result = work(database);
        return result->status();
      },
      [result, done = std::move(done)](const absl::Status& status) {
        if (status.ok()) {
          done(std::move(*result));
        } else {
          done(status);
        }
      });
}

}  // namespace

// Held while the store is open: two collectors in one directory would each believe to be alone.
struct Store::LockFile {
  explicit LockFile(int descriptor) : fd(descriptor) {}
  ~LockFile() { ::close(fd); }
  LockFile(const LockFile&) = delete;
  LockFile& operator=(const LockFile&) = delete;
  const int fd;
};

absl::StatusOr<std::unique_ptr<Store>> Store::Open(const std::string& directory, Clock* clock) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) return ErrnoStatus(error.value(), absl::StrCat("make directory ", directory));
  const std::string lock_path = absl::StrCat(directory, "/lock");
  const int fd = ::open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0640);
  if (fd < 0) return ErrnoStatus(errno, absl::StrCat("open ", lock_path));
  auto lock = std::make_unique<LockFile>(fd);
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    return absl::FailedPreconditionError(absl::StrCat(
        "another faultline-collector uses ", directory, "; stop it, or name another --state-dir"));
  }
  const std::string path = absl::StrCat(directory, "/collector.db");
  auto database = OpenStoreFile(path);
  if (!database.ok()) return database.status();
  std::unique_ptr<Store> store(new Store(path, std::move(lock), clock));
  store->writer_ = std::make_unique<Writer>(std::move(*database));
  return store;
}

Store::Store(std::string path, std::unique_ptr<LockFile> lock, Clock* clock)
    : path_(std::move(path)), clock_(clock), lock_(std::move(lock)) {}

Store::~Store() = default;

void Store::Probe(std::function<void(const absl::Status&)> done) {
  writer_->Submit(Touch, std::move(done));
}

void Store::SaveHello(v1::Hello hello, std::function<void(absl::StatusOr<HelloOutcome>)> done) {
  SubmitFor<HelloOutcome>(
      *writer_,
      [hello = std::move(hello), now = clock_->Now().realtime_ns](Database& database) {
        return InsertHello(database, hello, now);
      },
      std::move(done));
}

void Store::SaveBatch(const std::string& node, std::shared_ptr<const CheckedBatch> batch,
                      std::function<void(absl::StatusOr<BatchOutcome>)> done) {
  SubmitFor<BatchOutcome>(
      *writer_,
      [node, batch = std::move(batch), now = clock_->Now().realtime_ns](Database& database) {
        return InsertBatch(database, node, *batch, now);
      },
      std::move(done));
}

void Store::SaveReject(const std::string& node, const Rejection& rejection,
                       std::function<void(absl::StatusOr<std::uint64_t>)> done) {
  SubmitFor<std::uint64_t>(
      *writer_,
      [node, rejection, now = clock_->Now().realtime_ns](Database& database) {
        return InsertReject(database, node, rejection, now);
      },
      std::move(done));
}

void Store::SaveFault(const std::string& node, v1::FaultState fault,
                      std::function<void(absl::StatusOr<bool>)> done) {
  SubmitFor<bool>(
      *writer_,
      [node, fault = std::move(fault)](Database& database) -> absl::StatusOr<bool> {
        const auto row = FindNode(database, node);
        if (!row.ok()) return row.status();
        return MergeFault(database, *row, fault);
      },
      std::move(done));
}

void Store::StartRun(const v1::Run& run, std::function<void(absl::StatusOr<v1::Run>)> done) {
  SubmitFor<v1::Run>(
      *writer_,
      [run, now = clock_->Now().realtime_ns](Database& database) {
        return InsertRun(database, run, now);
      },
      std::move(done));
}

void Store::StopRun(const std::string& name, std::function<void(absl::StatusOr<v1::Run>)> done) {
  SubmitFor<v1::Run>(
      *writer_,
      [name, now = clock_->Now().realtime_ns](Database& database) {
        return CloseRun(database, name, now);
      },
      std::move(done));
}

void Store::SaveTargets(const v1::Run& run, std::function<void(absl::StatusOr<v1::Run>)> done) {
  SubmitFor<v1::Run>(
      *writer_, [run](Database& database) { return UpdateTargets(database, run); },
      std::move(done));
}

absl::StatusOr<std::unique_ptr<Catalogue>> Store::OpenCatalogue() const {
  return Catalogue::Open(path_);
}

}  // namespace faultline
