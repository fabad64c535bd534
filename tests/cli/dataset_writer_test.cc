// SPDX-License-Identifier: Apache-2.0
#include "cli/dataset_writer.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>

namespace faultline::cli {
namespace {

namespace fs = std::filesystem;

std::string Text(const fs::path& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

v1::ExportChunk Chunk(const std::string& path, const std::string& data) {
  v1::ExportChunk chunk;
  chunk.set_path(path);
  chunk.set_data(data);
  return chunk;
}

class DatasetWriterTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "faultline-writer-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    root_ = name;
  }
  void TearDown() override { fs::remove_all(root_); }
  // Entries of the folder that holds the dataset.
  size_t Entries() const {
    return static_cast<size_t>(std::distance(fs::directory_iterator(root_), {}));
  }
  fs::path root_;
};

TEST(ValidateDatasetPath_Table, TakesPlainRelativePathsOnly) {
  for (const char* path : {"README.md", "data/cgroup.csv", "a/b/c/d", "CHECKSUMS", "..a"}) {
    EXPECT_TRUE(ValidateDatasetPath(path).ok()) << path;
  }
  for (const char* path : {"", "/etc/passwd", "../x", "data/../../x", "data//x", "data/", ".",
                           "a/./b", "a b", "a\\b", "a/b/c/d/e", "x\n"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(ValidateDatasetPath(path))) << path;
  }
  EXPECT_FALSE(ValidateDatasetPath(std::string("x\0y", 3)).ok());
  EXPECT_FALSE(ValidateDatasetPath(std::string(300, 'a')).ok());
}

TEST_F(DatasetWriterTest, Files_AppearTogetherAtTheEnd) {
  const fs::path out = root_ / "deep" / "out";
  auto writer = DatasetWriter::Create(out.string());
  ASSERT_TRUE(writer.ok()) << writer.status();
  ASSERT_TRUE((*writer)->Write(Chunk("data/host.csv", "a,b\n")).ok());
  ASSERT_TRUE((*writer)->Write(Chunk("data/host.csv", "1,2\n")).ok());
  ASSERT_TRUE((*writer)->Write(Chunk("README.md", "# x\n")).ok());
  EXPECT_FALSE(fs::exists(out));
  ASSERT_TRUE((*writer)->Finish().ok());
  writer->reset();
  EXPECT_EQ(Text(out / "data" / "host.csv"), "a,b\n1,2\n");
  EXPECT_EQ(Text(out / "README.md"), "# x\n");
  EXPECT_EQ(std::distance(fs::directory_iterator(root_ / "deep"), {}), 1);
}

TEST_F(DatasetWriterTest, Abandoned_LeavesNothing) {
  {
    auto writer = DatasetWriter::Create((root_ / "out").string());
    ASSERT_TRUE(writer.ok());
    ASSERT_TRUE((*writer)->Write(Chunk("x.csv", "1")).ok());
  }
  EXPECT_EQ(Entries(), 0U);
}

TEST_F(DatasetWriterTest, BadPathsOfTheSender_AreRefused) {
  auto writer = DatasetWriter::Create((root_ / "out").string());
  ASSERT_TRUE(writer.ok());
  EXPECT_TRUE(absl::IsInvalidArgument((*writer)->Write(Chunk("../evil", "x"))));
  EXPECT_TRUE((*writer)->Write(Chunk("a.csv", "x")).ok());
  EXPECT_TRUE((*writer)->Write(Chunk("b.csv", "x")).ok());
  EXPECT_TRUE(absl::IsInvalidArgument((*writer)->Write(Chunk("a.csv", "again"))));
  EXPECT_FALSE(fs::exists(root_ / "evil"));
}

TEST_F(DatasetWriterTest, EmptyFolder_IsFilled) {
  fs::create_directory(root_ / "out");
  auto writer = DatasetWriter::Create((root_ / "out/").string());
  ASSERT_TRUE(writer.ok()) << writer.status();
  ASSERT_TRUE((*writer)->Write(Chunk("x.csv", "1")).ok());
  ASSERT_TRUE((*writer)->Finish().ok());
  EXPECT_TRUE(fs::exists(root_ / "out" / "x.csv"));
}

TEST_F(DatasetWriterTest, FolderWithContentOrFile_IsRefused) {
  fs::create_directory(root_ / "out");
  std::ofstream(root_ / "out" / "mine") << "precious";
  EXPECT_TRUE(absl::IsFailedPrecondition(DatasetWriter::Create((root_ / "out").string()).status()));
  EXPECT_TRUE(
      absl::IsFailedPrecondition(DatasetWriter::Create((root_ / "out/mine").string()).status()));
  EXPECT_EQ(Text(root_ / "out" / "mine"), "precious");
}

}  // namespace
}  // namespace faultline::cli
