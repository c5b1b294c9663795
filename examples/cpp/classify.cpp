// Classify faces with a model file: ./classify MODEL PICTURE...
// docs/model-format.md specifies the file; README.md in this folder has the command that builds it.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

#include <libexif/exif-data.h>
#include <nlohmann/json.hpp>
#include <onnxruntime_cxx_api.h>
#define STB_IMAGE_IMPLEMENTATION
#include <stb/stb_image.h>

struct Gray {
  int width, height;
  std::vector<uint8_t> pixels;
};

// Return the EXIF orientation of a JPEG, 1 to 8.
int read_orientation(const std::string& path) {
  ExifData* data = exif_data_new_from_file(path.c_str());
  if (!data) return 1;
  ExifEntry* entry = exif_content_get_entry(data->ifd[EXIF_IFD_0], EXIF_TAG_ORIENTATION);
  bool is_short = entry && entry->format == EXIF_FORMAT_SHORT && entry->components == 1;
  int value = is_short ? exif_get_short(entry->data, exif_data_get_byte_order(data)) : 1;
  exif_data_unref(data);
  return value >= 1 && value <= 8 ? value : 1;
}

// Return a picture upright, on white, and gray (ITU-R 601-2).
Gray read_gray(const std::string& path) {
  int width, height, channels;
  stbi_uc* rgba = stbi_load(path.c_str(), &width, &height, &channels, 4);
  if (!rgba) throw std::runtime_error(stbi_failure_reason());
  const int turn = read_orientation(path);
  const bool is_transposed = turn >= 5;
  const bool is_mirrored = turn == 2 || turn == 3 || turn == 7 || turn == 8;
  const bool is_upside_down = turn == 3 || turn == 4 || turn == 6 || turn == 7;
  Gray gray{is_transposed ? height : width, is_transposed ? width : height, {}};
  gray.pixels.reserve(static_cast<size_t>(width) * height);
  for (int y = 0; y < gray.height; y++) {
    for (int x = 0; x < gray.width; x++) {
      int column = is_transposed ? y : x, row = is_transposed ? x : y;
      if (is_mirrored) column = width - 1 - column;
      if (is_upside_down) row = height - 1 - row;
      const stbi_uc* p = rgba + 4 * (static_cast<size_t>(row) * width + column);
      auto on_white = [p](int i) { return (p[i] * p[3] + 255 * (255 - p[3]) + 127) / 255; };
      const int sum = on_white(0) * 19595 + on_white(1) * 38470 + on_white(2) * 7471;
      gray.pixels.push_back(static_cast<uint8_t>((sum + 0x8000) >> 16));
    }
  }
  stbi_image_free(rgba);
  return gray;
}

// Resize one axis with a triangle filter, antialiased; the result is transposed.
// Two calls return the bytes of Pillow's BILINEAR: each pass is rounded to bytes.
Gray resize_and_transpose(const Gray& in, int begin, int side, int size) {
  constexpr int one = 1 << 22;  // fixed point
  const double scale = static_cast<double>(side) / size, spread = std::max(scale, 1.0);
  Gray out{in.height, size, std::vector<uint8_t>(static_cast<size_t>(in.height) * size)};
  for (int index = 0; index < size; index++) {
    const double centre = begin + (index + 0.5) * scale;
    const int start = std::max(0, static_cast<int>(centre - spread + 0.5));
    const int end = std::min(in.width, static_cast<int>(centre + spread + 0.5));
    std::vector<double> weights;
    double total = 0;
    for (int x = start; x < end; x++) {
      weights.push_back(std::max(0.0, 1 - std::abs((x - centre + 0.5) / spread)));
      total += weights.back();
    }
    std::vector<int> factors;
    for (double weight : weights) factors.push_back(static_cast<int>(weight / total * one + 0.5));
    for (int y = 0; y < in.height; y++) {
      int sum = one / 2;
      for (int x = start; x < end; x++) {
        sum += in.pixels[static_cast<size_t>(y) * in.width + x] * factors[x - start];
      }
      out.pixels[static_cast<size_t>(index) * in.height + y] =
          static_cast<uint8_t>(std::clamp(sum / one, 0, 255));
    }
  }
  return out;
}

// Return the means of blocks of factor × factor pixels.
Gray reduce(const Gray& in, int factor) {
  Gray out{(in.width + factor - 1) / factor, (in.height + factor - 1) / factor, {}};
  std::vector<int> sums(static_cast<size_t>(out.width) * out.height), counts(sums.size());
  for (int y = 0; y < in.height; y++) {
    for (int x = 0; x < in.width; x++) {
      const size_t block = static_cast<size_t>(y / factor) * out.width + x / factor;
      sums[block] += in.pixels[static_cast<size_t>(y) * in.width + x];
      counts[block]++;
    }
  }
  for (size_t i = 0; i < sums.size(); i++) {
    out.pixels.push_back(static_cast<uint8_t>((sums[i] + counts[i] / 2) / counts[i]));
  }
  return out;
}

// Return whether a file begins like a JPEG.
bool is_jpeg(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return file.get() == 0xff && file.get() == 0xd8;
}

// Return the central square of a picture as size × size bytes.
std::vector<uint8_t> read_face(const std::string& path, int size) {
  Gray gray = read_gray(path);
  // The toolkit decodes large JPEGs at reduced scale, which is close to the means of blocks.
  for (int factor = 8; factor > 1 && is_jpeg(path); factor /= 2) {
    if (std::min(gray.width, gray.height) < factor * 2 * size) continue;
    gray = reduce(gray, factor);
    break;
  }
  if (gray.width == size && gray.height == size) return gray.pixels;
  const int side = std::min(gray.width, gray.height);
  const Gray narrow = resize_and_transpose(gray, (gray.width - side) / 2, side, size);
  return resize_and_transpose(narrow, (gray.height - side) / 2, side, size).pixels;
}

int run(int count, char** arguments) {
  const std::string model = arguments[1];
  Ort::Env env;
  Ort::SessionOptions options;
  options.SetIntraOpNumThreads(1);
  Ort::Session session(env, model.c_str(), options);
  Ort::AllocatorWithDefaultOptions allocator;
  const Ort::ModelMetadata metadata = session.GetModelMetadata();
  auto find = [&](const char* name, const char* fallback) -> std::string {
    const std::string key = std::string("emotion_edge.") + name;
    auto value = metadata.LookupCustomMetadataMapAllocated(key.c_str(), allocator);
    return value ? value.get() : fallback;
  };
  const std::string version = find("contract_version", "missing");
  if (version != "1" && version != "2") {
    throw std::runtime_error(model + ": its contract version is " + version + ", not 1 or 2.");
  }
  const auto labels = nlohmann::json::parse(find("labels", "")).get<std::vector<std::string>>();
  const int size = nlohmann::json::parse(find("input", "")).at("size");
  const float min_confidence = std::stof(find("min_confidence", ""));
  const float other_threshold = std::stof(find("other_threshold", "1"));  // 1: none is "other"

  const char* inputs[] = {"pixels"};
  const char* outputs[] = {"probabilities", "other"};
  const size_t output_count = version == "2" ? 2 : 1;
  const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  const int64_t shape[] = {1, 1, size, size};
  int exit_code = 0;
  for (int i = 2; i < count; i++) {
    std::vector<uint8_t> face;
    try {
      face = read_face(arguments[i], size);
    } catch (const std::exception& error) {
      std::fprintf(stderr, "%s: %s\n", arguments[i], error.what());
      exit_code = 1;
      continue;
    }
    auto pixels = Ort::Value::CreateTensor<uint8_t>(memory, face.data(), face.size(), shape, 4);
    auto results = session.Run(Ort::RunOptions{}, inputs, &pixels, 1, outputs, output_count);
    const float* probabilities = results[0].GetTensorData<float>();
    const float* best = std::max_element(probabilities, probabilities + labels.size());
    std::string label = *best < min_confidence ? "uncertain" : labels[best - probabilities];
    float confidence = *best;
    if (output_count == 2 && other_threshold < 1) {
      const float other = *results[1].GetTensorData<float>();
      if (other >= other_threshold) label = "other", confidence = other;
    }
    std::printf("%s\t%s\t%.6f\n", arguments[i], label.c_str(), confidence);
  }
  return exit_code;
}

int main(int count, char** arguments) {
  if (count < 3) {
    std::fprintf(stderr, "Usage: classify MODEL PICTURE...\n");
    return 2;
  }
  setenv("ORT_DISABLE_TELEMETRY", "1", 0);  // has to be set before the session is created
  try {
    return run(count, arguments);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
