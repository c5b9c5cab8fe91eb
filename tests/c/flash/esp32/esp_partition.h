/* Stand-in for ESP-IDF's esp_partition.h: what flash_esp32.cpp calls. */
#ifndef ESP_PARTITION_H
#define ESP_PARTITION_H

#include <stddef.h>
#include <stdint.h>

typedef int esp_err_t;
#define ESP_OK   0
#define ESP_FAIL -1

typedef enum { ESP_PARTITION_TYPE_APP = 0, ESP_PARTITION_TYPE_DATA = 1 } esp_partition_type_t;
typedef enum { ESP_PARTITION_SUBTYPE_DATA_SPIFFS = 0x82 } esp_partition_subtype_t;

typedef struct {
    uint32_t address;
    uint32_t size;
} esp_partition_t;

extern "C" {
const esp_partition_t *esp_partition_find_first(esp_partition_type_t type,
                                                esp_partition_subtype_t subtype, const char *label);
esp_err_t esp_partition_erase_range(const esp_partition_t *partition, size_t offset, size_t size);
esp_err_t esp_partition_write(const esp_partition_t *partition, size_t offset, const void *data,
                              size_t size);
esp_err_t esp_partition_read(const esp_partition_t *partition, size_t offset, void *data,
                             size_t size);
}

#endif
